#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/nn/inspect/cost.h>
#include <fovea/nn/inspect/flops.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace fovea::nn::inspect {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t bytes_of(const NamedTensors& tensors) {
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors)
    if (tensor.defined()) bytes += tensor.numel() * size_of(tensor.dtype());
  return bytes;
}

std::int64_t gradient_bytes_of(const NamedTensors& parameters) {
  std::int64_t bytes = 0;
  for (const auto& [name, parameter] : parameters)
    if (const Tensor g = parameter.grad(); g.defined()) bytes += g.numel() * size_of(g.dtype());
  return bytes;
}

// "encoder.gru.weight_ih_l0" -> "encoder.gru"
std::string module_of(const std::string& parameter) {
  const std::size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? "" : parameter.substr(0, dot);
}

// "translate.encoder.gru" of a model with the path "translate" -> "encoder.gru"
std::string below(const std::string& root, const std::string& path) {
  if (root.empty() || !path.starts_with(root)) return path;
  if (path.size() == root.size()) return "";
  return path[root.size()] == '.' ? path.substr(root.size() + 1) : path;  // "lm2.norm" of "lm"
}

// Rows by module, in the order of the first access.
class Rows {
 public:
  explicit Rows(std::vector<ModuleCost>& rows) : rows_(rows) {}
  ModuleCost& of(const std::string& module) {
    const auto [found, fresh] = index_.emplace(module, rows_.size());
    if (fresh) rows_.push_back({.module = module});
    return rows_[found->second];
  }

 private:
  std::vector<ModuleCost>& rows_;
  std::map<std::string, std::size_t> index_;
};

std::string first_names(const std::string& path, int depth) {
  std::size_t end = 0;
  for (int i = 0; i < depth; ++i) {
    end = path.find('.', end + (i > 0 ? 1 : 0));
    if (end == std::string::npos) return path;
  }
  return path.substr(0, end);
}

// Sums the work of the ops of a step by phase: the second forward of a checkpoint counts as
// backward, gradient clipping as update.
class WorkMeter final : public OpObserver {
 public:
  enum class Phase : std::uint8_t { forward, backward, update };
  Phase phase = Phase::forward;
  std::map<std::string, Work> forward, backward;  // by module path
  Work update;
  std::int64_t unknown_ops = 0;

  void on_op(const OpEvent& op) noexcept override {
    const OpCost cost = cost_of(op);
    unknown_ops += !cost.known;
    const Work work{cost.flops, cost.bytes};
    if (phase == Phase::update) update += work;
    if (phase == Phase::forward) forward[path_of(op)] += work;
    if (phase == Phase::backward) backward[path_of(op)] += work;
  }

 private:
  static std::string path_of(const OpEvent& op) { return op.module ? *op.module : std::string(); }
};

// One step, with its memory by phase and module.
class DryRunStep {
 public:
  DryRunStep(DryRun& dry_run, Module& model, const TrainingStep& step)
      : dry_run_(dry_run),
        step_(step),
        root_(model.path()),
        parameters_(model.parameters()),
        // Real tensors of the program exist too, during the whole step.
        base_(memory_stats().live_bytes) {}

  ~DryRunStep() { clear_gradients(); }
  DryRunStep(const DryRunStep&) = delete;
  DryRunStep& operator=(const DryRunStep&) = delete;

  void run(CostLedger& cost, WorkMeter* meter = nullptr) {
    using Phase = WorkMeter::Phase;
    const auto begin = [&](Phase phase) {
      if (meter) meter->phase = phase;
    };
    begin(Phase::forward);
    clear_gradients();
    const std::int64_t before = dry_run_.live_bytes();
    const auto modules_before = dry_run_.live_by_module();
    dry_run_.reset_peak();
    const Tensor loss = step_.loss();
    cost.saved_bytes = dry_run_.live_bytes() - before;
    cost.forward_peak_bytes = take_peak();
    note_saved(modules_before, cost);
    dry_run_.reset_peak();
    begin(Phase::backward);
    loss.backward();
    cost.gradient_bytes = gradient_bytes_of(parameters_);
    cost.backward_peak_bytes = take_peak();
    begin(Phase::update);
    if (step_.update) step_.update();
    cost.update_peak_bytes = take_peak();
  }

  // The same step, for its work. Its memory is not used: caches may still fill in the first step.
  void measure_work(CostLedger& cost) {
    WorkMeter meter;
    {
      const ObserveOps observe(meter);
      run(cost, &meter);
    }
    cost.update = meter.update;
    cost.unknown_ops = meter.unknown_ops;
    Rows rows(work_);
    for (const auto& [path, work] : meter.forward) {
      rows.of(below(root_, path)).forward += work;
      cost.forward += work;
    }
    for (const auto& [path, work] : meter.backward) {
      rows.of(below(root_, path)).backward += work;
      cost.backward += work;
    }
  }

  // The gradients of the last step still exist.
  void validate(CostLedger& cost) {
    if (!step_.validation) return;
    const NoGrad guard;
    dry_run_.reset_peak();
    step_.validation();
    cost.validation_peak_bytes = take_peak();
  }

 private:
  void clear_gradients() {
    for (auto [name, parameter] : parameters_) parameter.zero_grad();
  }

  std::int64_t take_peak() {
    const std::int64_t peak = base_ + dry_run_.peak_bytes();
    dry_run_.reset_peak();
    return peak;
  }

  void note_saved(const std::map<std::string, std::int64_t>& before, CostLedger& cost) {
    cost.modules.clear();
    Rows rows(cost.modules);
    for (const auto& [name, parameter] : parameters_)
      rows.of(module_of(name)).parameters += parameter.numel();
    for (const auto& [path, bytes] : dry_run_.live_by_module()) {
      const auto was = before.find(path);
      const std::int64_t saved = bytes - (was == before.end() ? 0 : was->second);
      if (saved != 0) rows.of(below(root_, path)).saved_bytes += saved;
    }
    for (const ModuleCost& work : work_) {
      rows.of(work.module).forward = work.forward;
      rows.of(work.module).backward = work.backward;
    }
  }

  DryRun& dry_run_;
  const TrainingStep& step_;
  std::string root_;
  NamedTensors parameters_;
  std::int64_t base_;
  std::vector<ModuleCost> work_;
};

}  // namespace

Work& Work::operator+=(const Work& more) {
  flops += more.flops;
  bytes += more.bytes;
  return *this;
}

std::int64_t CostLedger::step_peak_bytes() const {
  return std::max({forward_peak_bytes, backward_peak_bytes, update_peak_bytes});
}

std::int64_t CostLedger::peak_bytes() const {
  return std::max(step_peak_bytes(), validation_peak_bytes);
}

const char* CostLedger::peak_phase() const {
  const std::int64_t peak = peak_bytes();
  if (peak == forward_peak_bytes) return "forward";
  if (peak == backward_peak_bytes) return "backward";
  return peak == update_peak_bytes ? "update" : "validation";
}

CostLedger forecast_step(DryRun& dry_run, Module& model, const TrainingStep& step) {
  if (!step.loss) value_error("forecast_step", "loss: must be a function");
  const auto start = Clock::now();
  CostLedger cost;
  cost.parameters = model.parameter_count();
  cost.parameter_bytes = bytes_of(model.state());
  DryRunStep step_run(dry_run, model, step);
  step_run.measure_work(cost);
  step_run.run(cost);
  step_run.validate(cost);
  if (step.optimizer_state) cost.optimizer_bytes = bytes_of(step.optimizer_state());
  cost.dry_run_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return cost;
}

std::string CostLedger::table(int depth) const {
  std::vector<ModuleCost> joined;
  Rows rows(joined);
  for (const ModuleCost& cost : modules) {
    ModuleCost& row = rows.of(first_names(cost.module, depth));
    row.parameters += cost.parameters;
    row.saved_bytes += cost.saved_bytes;
    row.forward += cost.forward;
    row.backward += cost.backward;
  }
  std::size_t width = 24;
  for (const ModuleCost& row : joined) width = std::max(width, row.module.size());
  std::string text = fmt::format("{:<{}}  {:>12}  {:>10}  {:>12}  {:>12}\n", "module", width,
                                 "parameters", "saved", "forward", "backward");
  const auto row_of = [&](const std::string& name, std::int64_t count, std::int64_t saved,
                          const Work& there, const Work& back) {
    text += fmt::format("{:<{}}  {:>12}  {:>10}  {:>12}  {:>12}\n", name, width, count,
                        readable_bytes(saved), readable(there.flops, "FLOP"),
                        readable(back.flops, "FLOP"));
  };
  for (const ModuleCost& row : joined)
    row_of(row.module.empty() ? "(model itself, batch)" : row.module, row.parameters,
           row.saved_bytes, row.forward, row.backward);
  row_of("total", parameters, saved_bytes, forward, backward);
  text += '\n';
  const auto line = [&](const char* what, std::int64_t bytes) {
    text += fmt::format("{:<{}}  {:>12}\n", what, width, readable_bytes(bytes));
  };
  line("parameters", parameter_bytes);
  line("gradients", gradient_bytes);
  line("optimizer state", optimizer_bytes);
  line("saved for the backward", saved_bytes);
  line("peak in the forward", forward_peak_bytes);
  line("peak in the backward", backward_peak_bytes);
  line("peak in the update", update_peak_bytes);
  if (validation_peak_bytes > 0) line("peak in a validation", validation_peak_bytes);
  line("moved by a step", static_cast<std::int64_t>(forward.bytes + backward.bytes + update.bytes));
  if (unknown_ops > 0) text += fmt::format("work of {} ops unknown, not included\n", unknown_ops);
  return text;
}

std::string readable(double value, std::string_view unit) {
  constexpr const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  int step = 0;
  while (std::abs(value) >= 999.5 && step < 6) value /= 1000, ++step;
  const int decimals = step == 0 || std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}{}", value, decimals, prefixes[step], unit);
}

std::string readable_bytes(std::int64_t bytes) { return readable(static_cast<double>(bytes), "B"); }

std::int64_t parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit;
  for (const char* c = end; c < text.data() + text.size(); ++c)
    if (*c != ' ') unit += static_cast<char>(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
  static const std::map<std::string, double> units{
      {"", 1},         {"b", 1},        {"kb", 1e3},     {"mb", 1e6},    {"gb", 1e9},
      {"tb", 1e12},    {"k", 1e3},      {"m", 1e6},      {"g", 1e9},     {"t", 1e12},
      {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40}};
  const auto factor = units.find(unit);
  const double bytes = factor == units.end() ? 0 : value * factor->second;
  if (error != std::errc() || !(bytes >= 1 && bytes < 0x1p62))
    value_error("parse_bytes", "'{}': must be a number of bytes, such as 800MB, 2.5GB or 1GiB",
                text);
  return static_cast<std::int64_t>(bytes);
}

}  // namespace fovea::nn::inspect
