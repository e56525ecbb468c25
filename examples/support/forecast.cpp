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
  group.flag("--dry-run", options.dry_run, "print what training would take, and end");
  group.bytes("--memory-limit", options.limit, "SIZE",
              "refuse a training that takes more, as 800MB or 2GiB\n"
              "[what the machine has available, less 64 MB and a ninth:\n"
              "tensors are counted, the program needs more]");
}

namespace {

constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

// What a file begins with, behind `name`; nothing if that is no number.
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
  // Files that were read count as used, and go when their place is needed.
  const auto files = number_in("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);
  if (most && used) bytes = std::min(bytes, std::max<std::int64_t>(1, *most - *used + files));
  return bytes;
}

std::int64_t room_for_tensors(std::int64_t available) {
  constexpr std::int64_t program = 64'000'000;
  return std::max<std::int64_t>(1, (available - program) / 9 * 8);
}

namespace {

// What a batch's memory may grow with. Which of them it is, the model knows: logits make a target
// token dearer than one of the source, a deep encoder does the opposite.
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

std::vector<BatchPlace> largest_batches(const std::vector<data::PairLength>& lengths,
                                        const data::BucketOptions& options, std::int64_t epochs) {
  constexpr std::int64_t enough = 3'000'000;  // sequences; a second
  const std::int64_t read = std::max<std::int64_t>(
      1, std::min(epochs, enough / std::max<std::int64_t>(1, std::ssize(lengths))));
  Sizes most{};
  most.fill(-1);
  std::array<BatchPlace, std::tuple_size_v<Sizes>> places{};
  for (std::int64_t epoch = 0; epoch < read; ++epoch) {
    const std::vector<data::Ids> batches = data::bucketed_batches(lengths, epoch, options);
    for (std::int64_t batch = 0; batch < std::ssize(batches); ++batch) {
      const Sizes sizes = sizes_of(lengths, batches[static_cast<std::size_t>(batch)]);
      for (std::size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] > most[i]) most[i] = sizes[i], places[i] = {epoch, batch};
    }
  }
  std::vector<BatchPlace> found;
  for (const BatchPlace& place : places)
    if (std::none_of(found.begin(), found.end(), [&](const BatchPlace& other) {
          return other.epoch == place.epoch && other.batch == place.batch;
        }))
      found.push_back(place);
  return found;
}

inspect::CostLedger forecast(fovea::Rehearsal& rehearsal, fovea::nn::Module& model,
                             const optim::TrainingTask& task, const optim::TrainerOptions& trainer,
                             const std::vector<BatchPlace>& places,
                             const std::function<void()>& validate) {
  std::optional<optim::WeightAverage> average;
  if (trainer.average > 0) average.emplace(task.model, trainer.average);
  const auto update = [&] {
    // Norms are 0 in a rehearsal: below clip_grad_norm's 1e-6 even that is too long.
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
  for (const BatchPlace& place : places) {
    inspect::TrainingStep step{.loss = [&] { return task.loss(place.epoch, place.batch).value; },
                               .update = update,
                               .optimizer_state = state};
    if (costs.empty()) step.validation = validation;  // it is always the same
    costs.push_back(inspect::forecast_step(rehearsal, model, step));
  }
  inspect::CostLedger dearest = *std::max_element(
      costs.begin(), costs.end(),
      [](const auto& a, const auto& b) { return a.step_peak_bytes() < b.step_peak_bytes(); });
  dearest.validation_peak_bytes = costs[0].validation_peak_bytes;
  return dearest;
}

inspect::CostLedger timed(const std::function<inspect::CostLedger()>& forecast) {
  const auto begin = std::chrono::steady_clock::now();
  inspect::CostLedger cost = forecast();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  cost.rehearsal_seconds = taken.count();
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
      break;  // there is no such model, as with fewer units than heads
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
                        choice.peak_bytes > limit ? ": still too much" : "");
  if (!text.empty()) text = "\nWhat would take less:" + text;
  const std::string where = cost.peak_bytes() > cost.step_peak_bytes()
                                ? "a validation"
                                : fmt::format("the {} of its largest batch", cost.peak_phase());
  fovea::value_error(
      "memory",
      "training takes {} in {} ({} parameters, {} gradients, {} optimizer state, {} saved for the "
      "backward), and {} {}: it must fit{}",
      readable_bytes(cost.peak_bytes()), where, readable_bytes(cost.parameter_bytes),
      readable_bytes(cost.gradient_bytes), readable_bytes(cost.optimizer_bytes),
      readable_bytes(cost.saved_bytes),
      limit_given ? "--memory-limit is" : "the machine has room for", readable_bytes(limit), text);
}

bool may_train(const inspect::CostLedger& cost, const MemoryOptions& options,
               const std::function<std::vector<Choice>(std::int64_t limit)>& choices) {
  const std::int64_t limit =
      options.limit > 0 ? options.limit : room_for_tensors(available_memory());
  if (options.dry_run)
    std::cout << "One training step of the largest batch, found and rehearsed in "
              << fmt::format("{:.0f} ms:\n\n", 1000 * cost.rehearsal_seconds) << cost.table()
              << fmt::format("{:<24}  {:>12}\n", options.limit > 0 ? "--memory-limit" : "room here",
                             inspect::readable_bytes(limit))
              << std::flush;
  if (cost.peak_bytes() > limit) refuse_memory(cost, limit, options.limit > 0, choices(limit));
  return !options.dry_run;
}

}  // namespace support
