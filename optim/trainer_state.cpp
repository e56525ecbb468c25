#include <fovea/core/checksum_detail.h>
#include <fovea/core/error.h>
#include <fovea/core/file_lock.h>
#include <fovea/core/files.h>
#include <fovea/core/sizes.h>
#include <fovea/optim/trainer_detail.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fovea::optim::detail {
namespace {

template <class Record, class T>
struct Field {
  const char* name;
  T Record::*member;
};

// The columns of a checkpoint's matrices. Their order is the file format.
constexpr Field<TrainerState, std::int64_t> state_counts[] = {
    {"epoch", &TrainerState::epoch},     {"batch", &TrainerState::batch},
    {"batches", &TrainerState::batches}, {"step", &TrainerState::step},
    {"tokens", &TrainerState::tokens},   {"since_best", &TrainerState::since_best}};
constexpr Field<TrainerState, double> state_figures[] = {
    {"seconds", &TrainerState::seconds},
    {"running_loss", &TrainerState::running_loss},
    {"best", &TrainerState::best}};
constexpr Field<Progress, std::int64_t> progress_counts[] = {{"epoch", &Progress::epoch},
                                                             {"batch", &Progress::batch},
                                                             {"batches", &Progress::batches},
                                                             {"step", &Progress::step}};
constexpr Field<Progress, double> progress_figures[] = {
    {"loss", &Progress::loss},
    {"gradient_norm", &Progress::gradient_norm},
    {"learning_rate", &Progress::learning_rate},
    {"seconds", &Progress::seconds},
    {"seconds_left", &Progress::seconds_left},
    {"tokens_per_second", &Progress::tokens_per_second},
    {"validation", &Progress::validation},
    {"best", &Progress::best}};

constexpr const char* kTrainingId = "training_id";

// Records as the rows of a matrix, one column per field.    (rows, fields)
template <class T, class Record, std::size_t N>
Tensor to_tensor(const std::vector<Record>& rows, const Field<Record, T> (&fields)[N]) {
  std::vector<T> values;
  for (const Record& row : rows)
    for (const auto& field : fields) values.push_back(row.*field.member);
  return from_data(values, {std::ssize(rows), static_cast<std::int64_t>(N)});
}

// Checks the values of one file.
class Reader {
 public:
  explicit Reader(const SafetensorsFile& file) : file_(file) {}

  template <class T>
  [[noreturn]] void refuse(std::string_view name, T value, std::string_view rule) const {
    state_error("train", "{}: {} = {}: must be {}", file_.source(), name, value, rule);
  }

  template <class T>
  void range(std::string_view name, T value, T low, T high, std::string_view why = "") const {
    if (!(value >= low && value <= high))
      refuse(name, value, fmt::format("from {} to {}{}", low, high, why));
  }
  void finite(std::string_view name, double value) const {
    if (!std::isfinite(value)) refuse(name, value, "finite");
  }
  void not_negative(std::string_view name, double value) const {
    if (!(std::isfinite(value) && value >= 0)) refuse(name, value, "finite and at least 0");
  }

  // Reads the tensor's columns into the fields of `rows`, and sets its size.
  template <class T, class Record, std::size_t N>
  void read(const char* name, const Field<Record, T> (&fields)[N],
            std::vector<Record>& rows) const {
    const Tensor tensor = file_.tensor(name);
    if (tensor.dtype() != dtype_of<T>() || tensor.rank() != 2 ||
        tensor.dim(1) != static_cast<std::int64_t>(N) ||
        (!rows.empty() && tensor.dim(0) != std::ssize(rows)))
      state_error("train", "{}: {} is {} {}: must be {} ({}, {})", file_.source(), name,
                  name_of(tensor.dtype()), tensor.shape().str(), name_of(dtype_of<T>()),
                  rows.empty() ? "rows" : std::to_string(rows.size()), N);
    if (tensor.numel() == 0) return;  // a vector of 2^60 empty rows cannot be allocated
    rows.resize(static_cast<std::size_t>(tensor.dim(0)));
    const std::vector<T> values = tensor.template to_vector<T>();
    auto value = values.begin();
    for (Record& row : rows)
      for (const auto& field : fields) row.*field.member = *value++;
  }

 private:
  const SafetensorsFile& file_;
};

// An older version repeated the last row at each resume: keep the first row of each step.
void drop_repeated(std::vector<Progress>& history) {
  const auto same = [](const Progress& a, const Progress& b) { return a.step == b.step; };
  history.erase(std::unique(history.begin(), history.end(), same), history.end());
}

// Number of steps before an epoch, for calls with increasing epochs. No table of all epochs: their
// number comes from the file.
class StepsBefore {
 public:
  explicit StepsBefore(const TrainingTask& task) : task_(task) {}

  // Stops at the first epoch with more than `most` steps before it.
  std::int64_t operator()(std::int64_t epoch, std::int64_t most) {
    for (; epoch_ < epoch && steps_ <= most; ++epoch_)
      steps_ = checked_add("train", steps_, batches_of(task_, epoch_));
    return steps_;
  }

 private:
  const TrainingTask& task_;
  std::int64_t epoch_ = 0, steps_ = 0;
};

void check_row(const Reader& reader, const Progress& row, const Progress& before,
               const TrainerState& state, const TrainingTask& task, StepsBefore& steps_before,
               std::size_t index) {
  const auto name = [&](const char* field) { return fmt::format("history[{}].{}", index, field); };
  reader.range<std::int64_t>(name("step"), row.step, before.step + 1, state.step);
  reader.range<std::int64_t>(name("epoch"), row.epoch, before.epoch, state.epoch);
  const std::int64_t batches =
      row.epoch < state.epoch ? batches_of(task, row.epoch) : state.batches;
  if (row.batches != batches)
    reader.refuse(name("batches"), row.batches,
                  fmt::format("{}, the batches of epoch {}", batches, row.epoch));
  const std::int64_t batch = row.step - steps_before(row.epoch, state.step);
  if (row.batch != batch)
    reader.refuse(name("batch"), row.batch, fmt::format("{}, from its step and epoch", batch));
  reader.range<std::int64_t>(name("batch"), row.batch, 1, row.batches);
  reader.finite(name("loss"), row.loss);
  reader.not_negative(name("gradient_norm"), row.gradient_norm);
  reader.not_negative(name("learning_rate"), row.learning_rate);
  reader.range(name("seconds"), row.seconds, before.seconds, state.seconds);
  if (std::isnan(row.seconds_left))
    reader.refuse(name("seconds_left"), row.seconds_left, "a number");
  reader.not_negative(name("tokens_per_second"), row.tokens_per_second);
}

// Checks that step, epoch and batch agree.
void check_steps(const Reader& reader, const TrainerState& state, const TrainingTask& task,
                 const TrainerOptions& options, const std::string& source) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  // Bounds of the sum over epochs below, which takes seconds for most_epochs.
  constexpr std::int64_t enough = 1'000'000, most_epochs = std::int64_t{1} << 32;
  reader.range<std::int64_t>("step", state.step, 0, most);
  reader.range<std::int64_t>(
      "epoch", state.epoch, 0,
      std::min({state.step, std::max(options.max_epochs, enough), most_epochs}),
      ", from its steps and max_epochs");
  if (state.batch != 0) {
    const std::int64_t batches = batches_of(task, state.epoch);
    if (batches != state.batches)
      state_error("train", "{}: saved at batch {} of {}, but epoch {} now has {} batches", source,
                  state.batch, state.batches, state.epoch, batches);
    reader.range<std::int64_t>("batch", state.batch, 1, batches - 1,
                               fmt::format(", epoch {} has {} batches", state.epoch, batches));
  } else {
    const std::int64_t batches = state.epoch > 0 ? batches_of(task, state.epoch - 1) : 0;
    if (state.batches != batches && state.step > 0)
      reader.refuse("batches", state.batches,
                    fmt::format("{}, the batches of epoch {}", batches, state.epoch - 1));
  }
  const std::int64_t steps =
      checked_add("train", StepsBefore(task)(state.epoch, state.step), state.batch);
  if (steps != state.step)
    reader.refuse(
        "step", state.step,
        fmt::format("{}{}, the steps of {} epochs and {} batches",
                    steps > state.step ? "at least " : "", steps, state.epoch, state.batch));
}

void check_state(const Reader& reader, const TrainerState& state,
                 const std::vector<Progress>& history, std::int64_t validations,
                 const TrainerOptions& options) {
  constexpr std::int64_t exact = std::int64_t{1} << 53;  // largest exact count in a double
  const Progress none;
  const Progress& row = history.empty() ? none : history.back();
  reader.range<std::int64_t>("tokens", state.tokens, 0, state.step > 0 ? exact : 0);
  const double by_row = row.tokens_per_second * row.seconds;
  const double slack = 1e-6 * (1 + by_row);
  const auto tokens = static_cast<double>(state.tokens);
  if (tokens < by_row - slack || (row.step == state.step && tokens > by_row + slack))
    reader.refuse("tokens", state.tokens,
                  fmt::format("{}{:.0f}, from the history",
                              row.step < state.step ? "at least " : "", by_row));
  reader.range<std::int64_t>("since_best", state.since_best, 0, validations,
                             ", the number of validations");
  reader.not_negative("seconds", state.seconds);
  reader.finite("running_loss", state.running_loss);
  reader.not_negative("gradient_norm", state.gradient_norm);
  if (is_better(row.best, state.best, options.higher_is_better))
    reader.refuse("best", state.best,
                  fmt::format("at least as good as {} in the history", row.best));
}

// "its options: seed is 3 in the file, 4 in this run": the members in which two JSON objects
// differ.
std::string difference(const std::string& key, const std::string& found,
                       const std::string& expected) {
  using nlohmann::json;
  const json a = json::parse(found, nullptr, /*allow_exceptions=*/false);
  const json b = json::parse(expected, nullptr, /*allow_exceptions=*/false);
  if (!a.is_object() || !b.is_object()) {
    constexpr std::size_t shown = 60;  // a vocabulary is long
    if (found.size() > shown || expected.size() > shown)
      return fmt::format("its {} is different", key);
    return fmt::format("its {} is '{}', not '{}'", key, found, expected);
  }
  json members = a;
  members.update(b);
  std::string text = fmt::format("its {}: ", key);
  const char* between = "";
  for (const auto& [name, value] : members.items()) {
    const std::string was = a.contains(name) ? a[name].dump() : "missing";
    const std::string is = b.contains(name) ? b[name].dump() : "missing";
    if (was == is) continue;
    text += fmt::format("{}{} is {} in the file, {} in this run", between, name, was, is);
    between = "; ";
  }
  return text;
}

}  // namespace

NamedTensors to_tensors(const TrainerState& state, const std::vector<Progress>& history) {
  return {{"place.counts", to_tensor(std::vector{state}, state_counts)},
          {"place.figures", to_tensor(std::vector{state}, state_figures)},
          {"place.gradient_norm", from_data(std::vector{state.gradient_norm}, {1})},
          {"place.training", from_data(std::vector{state.training}, {1})},
          {"history.counts", to_tensor(history, progress_counts)},
          {"history.figures", to_tensor(history, progress_figures)}};
}

Position read_position(const SafetensorsFile& file, const TrainingTask& task,
                       const TrainerOptions& options) {
  const Reader reader(file);
  std::vector<TrainerState> states(1);
  reader.read("place.counts", state_counts, states);
  reader.read("place.figures", state_figures, states);
  Position at{.state = states[0], .history = {}};
  if (file.find("place.gradient_norm"))  // not in older checkpoints
    at.state.gradient_norm = file.tensor("place.gradient_norm").item<double>();
  if (file.find("place.training"))
    at.state.training = file.tensor("place.training").item<std::int64_t>();
  reader.read("history.counts", progress_counts, at.history);
  reader.read("history.figures", progress_figures, at.history);
  const std::int64_t validations = std::ssize(at.history);
  drop_repeated(at.history);
  check_steps(reader, at.state, task, options, file.source());
  StepsBefore steps_before(task);
  Progress before;
  for (std::size_t i = 0; i < at.history.size(); ++i) {
    check_row(reader, at.history[i], before, at.state, task, steps_before, i);
    before = at.history[i];
  }
  check_state(reader, at.state, at.history, validations, options);
  return at;
}

std::int64_t batches_of(const TrainingTask& task, std::int64_t epoch) {
  const std::int64_t batches = task.batches(epoch);
  if (batches < 1)
    value_error("train", "epoch {} has {} batches: at least one is needed", epoch, batches);
  return batches;
}

bool is_better(double figure, double best, bool higher_is_better) {
  if (std::isnan(best)) return !std::isnan(figure);
  return higher_is_better ? figure > best : figure < best;
}

// Without this check, values of another training with the same shapes would load silently.
void check_same_training(const SafetensorsFile& file, const Metadata& expected) {
  for (const auto& [key, value] : expected) {
    const auto entry = file.metadata().find(key);
    const std::string found = entry == file.metadata().end() ? "" : entry->second;
    if (found != value)
      state_error("train", "{} belongs to another training: {}", file.source(),
                  difference(key, found, value));
  }
}

std::int64_t training_id(const TrainingTask& task, const Metadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata) text += fmt::format("{} {} ", key, value);
  for (const NamedTensors& list : {task.model, task.optimizer->state()})
    for (const auto& [name, tensor] : list) {
      const Tensor dense = tensor.detach().contiguous();
      const std::string_view bytes(
          reinterpret_cast<const char*>(dense.raw_data()),
          static_cast<std::size_t>(dense.numel() * size_of(dense.dtype())));
      text += fmt::format("{} {:x} ", name, checksum(bytes));
    }
  const std::uint64_t id = checksum(text);
  return std::bit_cast<std::int64_t>(id == 0 ? 1 : id);
}

Metadata with_training_id(Metadata metadata, std::int64_t id) {
  if (id != 0) metadata[kTrainingId] = fmt::format("{:016x}", std::bit_cast<std::uint64_t>(id));
  return metadata;
}

void check_is_ours(const SafetensorsFile& file, std::int64_t id, const TrainerOptions& options) {
  if (id == 0) return;
  const Metadata wanted = with_training_id({}, id);
  const auto entry = file.metadata().find(kTrainingId);
  const std::string found = entry == file.metadata().end() ? "" : entry->second;
  if (found != wanted.at(kTrainingId))
    state_error(
        "train", "{}: {} = '{}': must be '{}': it is not a model from {}", file.source(),
        kTrainingId, found, wanted.at(kTrainingId),
        options.last.empty() ? "this training" : "the training in " + options.last.string());
}

void check_files(const TrainerOptions& options) {
  const std::pair<const char*, const std::filesystem::path*> files[] = {
      {"best", &options.best}, {"last", &options.last}, {"log", &options.log}};
  std::vector<std::pair<const char*, OutputTarget>> known;
  for (const auto& [name, path] : files) {
    if (path->empty()) continue;
    check_writable(*path, "train");
    const OutputTarget target(*path, "train");
    for (const auto& [other, earlier] : known)
      if (target.same_file(earlier) && !(target.stream && earlier.stream))
        value_error("train", "{} = {} is also the file of {}: must be another file", name,
                    path->string(), other);
    known.emplace_back(name, target);
  }
  for (const std::filesystem::path* model : {&options.best, &options.last})
    for (const auto& [name, target] : known)
      if (!model->empty() && target.path == lock_path("train", *model))
        value_error("train", "{} = {} is the lock of {}: must be another file", name,
                    target.path.string(), model->string());
}

}  // namespace fovea::optim::detail
