#include <fovea/core/error.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/optim/average.h>
#include <fovea/optim/clip.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iostream>
#include <limits>
#include <optional>

namespace data = fovea::nn::data;
namespace inspect = fovea::nn::inspect;
namespace optim = fovea::optim;

namespace support {

void add_memory_options(Group& group, MemoryOptions& options) {
  group.flag("--dry-run", options.dry_run,
             "print the memory and time that training would need, and exit");
  group.bytes("--memory-limit", options.limit, "SIZE",
              "maximum memory of tensors in training, such as 800MB or 2GiB;\n"
              "exit with an error if more is needed [available memory minus\n"
              "64 MB, times 8/9: the program needs more than its tensors]");
}

namespace {

constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

// The number at the beginning of a file, or after `name`; empty if there is none.
std::optional<std::int64_t> number_in(const char* path, const std::string& name = "") {
  std::ifstream file(path);
  std::string word;
  while (!name.empty() && word != name && file >> word) {
  }
  std::int64_t number = 0;
  if (file >> number) return number;
  return {};
}

}  // namespace

std::int64_t available_memory() {
  std::int64_t bytes = unlimited;
  if (const auto kib = number_in("/proc/meminfo", "MemAvailable:")) bytes = *kib * 1024;
  const auto most = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  // The file cache counts as used memory, but is freed on demand.
  const auto files = number_in("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);
  if (most && used) bytes = std::min(bytes, std::max<std::int64_t>(1, *most - *used + files));
  return bytes;
}

std::int64_t bytes_for_tensors(std::int64_t available) {
  constexpr std::int64_t program = 64'000'000;
  return std::max<std::int64_t>(1, (available - program) / 9 * 8);
}

namespace {

// Measures of a batch that its memory may be proportional to. Which one depends on the model: with
// large logits a target token needs more than a source token, with a deep encoder the opposite.
std::array<std::int64_t, 12> sizes_of(const std::vector<data::PairLength>& lengths,
                                      const data::Ids& rows) {
  std::int64_t source = 0, target = 0, S = 0, T = 0;
  for (const std::int64_t row : rows) {
    const data::PairLength& length = lengths[static_cast<std::size_t>(row)];
    source += length.source, target += length.target;
    S = std::max(S, length.source), T = std::max(T, length.target);
  }
  const std::int64_t B = std::ssize(rows);
  return {B,
          source,
          target,
          source + target,
          4 * source + target,
          source + 4 * target,
          source + 16 * target,
          B * S,
          B * T,
          B * (S + T),
          B * (S + 4 * T),
          B * S * T};
}

using Sizes = decltype(sizes_of({}, {}));

}  // namespace

std::vector<BatchIndex> largest_batches(const std::vector<data::PairLength>& lengths,
                                        const data::BucketOptions& options, std::int64_t epochs) {
  constexpr std::int64_t enough = 3'000'000;  // sequences; a second
  const std::int64_t read = std::max<std::int64_t>(
      1, std::min(epochs, enough / std::max<std::int64_t>(1, std::ssize(lengths))));
  Sizes most{};
  most.fill(-1);
  std::array<BatchIndex, std::tuple_size_v<Sizes>> indices{};
  for (std::int64_t epoch = 0; epoch < read; ++epoch) {
    const std::vector<data::Ids> batches = data::bucketed_batches(lengths, epoch, options);
    for (std::int64_t batch = 0; batch < std::ssize(batches); ++batch) {
      const Sizes sizes = sizes_of(lengths, batches[static_cast<std::size_t>(batch)]);
      for (std::size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] > most[i]) most[i] = sizes[i], indices[i] = {epoch, batch};
    }
  }
  std::vector<BatchIndex> found;
  for (const BatchIndex& index : indices)
    if (std::none_of(found.begin(), found.end(), [&](const BatchIndex& other) {
          return other.epoch == index.epoch && other.batch == index.batch;
        }))
      found.push_back(index);
  return found;
}

inspect::CostLedger forecast(fovea::DryRun& dry_run, fovea::nn::Module& model,
                             const optim::TrainingTask& task, const optim::TrainerOptions& trainer,
                             const std::vector<BatchIndex>& batches,
                             const std::function<void()>& validate) {
  std::optional<optim::WeightAverage> average;
  if (trainer.average > 0) average.emplace(task.model, trainer.average);
  const auto update = [&] {
    // Norms are 0 in a dry run; with max_norm below clip_grad_norm's 1e-6, gradients are scaled.
    if (trainer.clip_norm > 0) optim::clip_grad_norm(task.model, 1e-7);
    task.optimizer->step();
    if (average) average->update(0);
  };
  const auto state = [&] {
    fovea::NamedTensors all = task.optimizer->state();
    if (average) append(all, "average", average->state());
    return all;
  };
  const auto validation = [&] {
    if (average) average->swap();
    validate();
    if (average) average->swap();
  };
  std::vector<inspect::CostLedger> costs;
  for (const BatchIndex& index : batches) {
    inspect::TrainingStep step{.loss = [&] { return task.loss(index.epoch, index.batch).value; },
                               .update = update,
                               .optimizer_state = state};
    if (costs.empty()) step.validation = validation;  // identical for all batches
    costs.push_back(inspect::forecast_step(dry_run, model, step));
  }
  inspect::CostLedger largest = *std::max_element(
      costs.begin(), costs.end(),
      [](const auto& a, const auto& b) { return a.step_peak_bytes() < b.step_peak_bytes(); });
  largest.validation_peak_bytes = costs[0].validation_peak_bytes;
  return largest;
}

inspect::CostLedger timed(const std::function<inspect::CostLedger()>& forecast) {
  const auto begin = std::chrono::steady_clock::now();
  inspect::CostLedger cost = forecast();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  cost.dry_run_seconds = taken.count();
  return cost;
}

std::vector<Choice> halved(const std::string& option, std::int64_t value, std::int64_t limit,
                           const std::function<std::int64_t(std::int64_t)>& peak_of) {
  std::vector<Choice> found;
  while (value > 1) {
    value /= 2;
    try {
      found = {{fmt::format("{} {}", option, value), peak_of(value)}};
    } catch (const fovea::ValueError&) {
      break;  // an invalid model, for example with fewer units than heads
    }
    if (found[0].peak_bytes <= limit) break;
  }
  return found;
}

void refuse_memory(const inspect::CostLedger& cost, std::int64_t limit, bool limit_given,
                   const std::vector<Choice>& choices) {
  using inspect::readable_bytes;
  std::string text;
  for (const Choice& choice : choices)
    text += fmt::format("\n  {:<24} {}{}", choice.option, readable_bytes(choice.peak_bytes),
                        choice.peak_bytes > limit ? ": still too large" : "");
  if (!text.empty()) text = "\nSettings that need less memory:" + text;
  const std::string where = cost.peak_bytes() > cost.step_peak_bytes()
                                ? "a validation"
                                : fmt::format("the {} of its largest batch", cost.peak_phase());
  fovea::value_error(
      "memory",
      "training needs {} in {} ({} parameters, {} gradients, {} optimizer state, {} saved for "
      "backward), but {} {}{}",
      readable_bytes(cost.peak_bytes()), where, readable_bytes(cost.parameter_bytes),
      readable_bytes(cost.gradient_bytes), readable_bytes(cost.optimizer_bytes),
      readable_bytes(cost.saved_bytes),
      limit_given ? "--memory-limit is" : "the available memory is", readable_bytes(limit), text);
}

bool may_train(const inspect::CostLedger& cost, const MemoryOptions& options,
               const std::function<std::vector<Choice>(std::int64_t limit)>& choices) {
  const std::int64_t limit =
      options.limit > 0 ? options.limit : bytes_for_tensors(available_memory());
  if (options.dry_run)
    std::cout << "One training step of the largest batch, dry run in "
              << fmt::format("{:.0f} ms:\n\n", 1000 * cost.dry_run_seconds) << cost.table()
              << fmt::format("{:<24}  {:>12}\n",
                             options.limit > 0 ? "--memory-limit" : "available memory",
                             inspect::readable_bytes(limit))
              << std::flush;
  if (cost.peak_bytes() > limit) refuse_memory(cost, limit, options.limit > 0, choices(limit));
  return !options.dry_run;
}

}  // namespace support
