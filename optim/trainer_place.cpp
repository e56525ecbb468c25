#include <fovea/core/checksum.h>
#include <fovea/core/error.h>
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
constexpr Field<Place, std::int64_t> place_counts[] = {
    {"epoch", &Place::epoch}, {"batch", &Place::batch},   {"batches", &Place::batches},
    {"step", &Place::step},   {"tokens", &Place::tokens}, {"since_best", &Place::since_best}};
constexpr Field<Place, double> place_figures[] = {
    {"seconds", &Place::seconds}, {"running_loss", &Place::running_loss}, {"best", &Place::best}};
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

// Records as rows of a matrix, a column for each of their fields.    (rows, fields)
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

  /// The tensor's columns into the fields of `rows`, whose size it sets.
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
    if (tensor.numel() == 0) return;  // of 2^60 empty rows there may be no vector
    rows.resize(static_cast<std::size_t>(tensor.dim(0)));
    const std::vector<T> values = tensor.template to_vector<T>();
    auto value = values.begin();
    for (Record& row : rows)
      for (const auto& field : fields) row.*field.member = *value++;
  }

 private:
  const SafetensorsFile& file_;
};

// An older version repeated the last row at each resume: of equal steps the first counts.
void drop_repeated(std::vector<Progress>& history) {
  const auto same = [](const Progress& a, const Progress& b) { return a.step == b.step; };
  history.erase(std::unique(history.begin(), history.end(), same), history.end());
}

// The steps made before an epoch, for epochs that do not decrease: no table of all epochs, whose
// number the file gives.
class StepsBefore {
 public:
  explicit StepsBefore(const TrainingTask& task) : task_(task) {}

  // Stops at the first epoch that more than `most` steps lead to.
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
               const Place& place, const TrainingTask& task, StepsBefore& steps_before,
               std::size_t index) {
  const auto name = [&](const char* field) { return fmt::format("history[{}].{}", index, field); };
  reader.range<std::int64_t>(name("step"), row.step, before.step + 1, place.step);
  reader.range<std::int64_t>(name("epoch"), row.epoch, before.epoch, place.epoch);
  const std::int64_t batches =
      row.epoch < place.epoch ? batches_of(task, row.epoch) : place.batches;
  if (row.batches != batches)
    reader.refuse(name("batches"), row.batches,
                  fmt::format("{}, as of epoch {}", batches, row.epoch));
  const std::int64_t batch = row.step - steps_before(row.epoch, place.step);
  if (row.batch != batch)
    reader.refuse(name("batch"), row.batch, fmt::format("{}, by its step and epoch", batch));
  reader.range<std::int64_t>(name("batch"), row.batch, 1, row.batches);
  reader.finite(name("loss"), row.loss);
  reader.not_negative(name("gradient_norm"), row.gradient_norm);
  reader.not_negative(name("learning_rate"), row.learning_rate);
  reader.range(name("seconds"), row.seconds, before.seconds, place.seconds);
  if (std::isnan(row.seconds_left))
    reader.refuse(name("seconds_left"), row.seconds_left, "a number");
  reader.not_negative(name("tokens_per_second"), row.tokens_per_second);
}

// Where in its epochs the training is.
void check_steps(const Reader& reader, const Place& place, const TrainingTask& task,
                 const TrainerOptions& options, const std::string& source) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  // Bounds for the sum over epochs below: with most_epochs it takes seconds.
  constexpr std::int64_t enough = 1'000'000, most_epochs = std::int64_t{1} << 32;
  reader.range<std::int64_t>("step", place.step, 0, most);
  reader.range<std::int64_t>(
      "epoch", place.epoch, 0,
      std::min({place.step, std::max(options.max_epochs, enough), most_epochs}),
      ", by its steps and max_epochs");
  if (place.batch != 0) {
    const std::int64_t batches = batches_of(task, place.epoch);
    if (batches != place.batches)
      state_error("train", "{} stopped at batch {} of {}, and epoch {} has {} now", source,
                  place.batch, place.batches, place.epoch, batches);
    reader.range<std::int64_t>("batch", place.batch, 1, batches - 1,
                               fmt::format(", epoch {} has {} batches", place.epoch, batches));
  } else {
    const std::int64_t batches = place.epoch > 0 ? batches_of(task, place.epoch - 1) : 0;
    if (place.batches != batches && place.step > 0)
      reader.refuse("batches", place.batches,
                    fmt::format("{}, the batches of epoch {}", batches, place.epoch - 1));
  }
  const std::int64_t steps =
      checked_add("train", StepsBefore(task)(place.epoch, place.step), place.batch);
  if (steps != place.step)
    reader.refuse(
        "step", place.step,
        fmt::format("{}{}, the batches of {} epochs and {} more",
                    steps > place.step ? "at least " : "", steps, place.epoch, place.batch));
}

void check_place(const Reader& reader, const Place& place, const std::vector<Progress>& history,
                 std::int64_t validations, const TrainerOptions& options) {
  constexpr std::int64_t exact = std::int64_t{1} << 53;  // what a double can count
  const Progress none;
  const Progress& row = history.empty() ? none : history.back();
  reader.range<std::int64_t>("tokens", place.tokens, 0, place.step > 0 ? exact : 0);
  const double by_row = row.tokens_per_second * row.seconds;
  const double slack = 1e-6 * (1 + by_row);
  const auto tokens = static_cast<double>(place.tokens);
  if (tokens < by_row - slack || (row.step == place.step && tokens > by_row + slack))
    reader.refuse(
        "tokens", place.tokens,
        fmt::format("{}{:.0f}, by the history", row.step < place.step ? "at least " : "", by_row));
  reader.range<std::int64_t>("since_best", place.since_best, 0, validations,
                             ", the validations made");
  reader.not_negative("seconds", place.seconds);
  reader.finite("running_loss", place.running_loss);
  reader.not_negative("gradient_norm", place.gradient_norm);
  if (is_better(row.best, place.best, options.higher_is_better))
    reader.refuse("best", place.best, fmt::format("as good as the history's {}", row.best));
}

// "its options: seed is 3, not 4": of two JSON objects, the members that differ.
std::string difference(const std::string& key, const std::string& found,
                       const std::string& expected) {
  using nlohmann::json;
  const json a = json::parse(found, nullptr, /*allow_exceptions=*/false);
  const json b = json::parse(expected, nullptr, /*allow_exceptions=*/false);
  if (!a.is_object() || !b.is_object()) {
    constexpr std::size_t shown = 60;  // a vocabulary is long
    if (found.size() > shown || expected.size() > shown)
      return fmt::format("its {} is another", key);
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
    text += fmt::format("{}{} is {} in it, {} here", between, name, was, is);
    between = "; ";
  }
  return text;
}

}  // namespace

NamedTensors to_tensors(const Place& place, const std::vector<Progress>& history) {
  return {{"place.counts", to_tensor(std::vector{place}, place_counts)},
          {"place.figures", to_tensor(std::vector{place}, place_figures)},
          {"place.gradient_norm", from_data(std::vector{place.gradient_norm}, {1})},
          {"place.training", from_data(std::vector{place.training}, {1})},
          {"history.counts", to_tensor(history, progress_counts)},
          {"history.figures", to_tensor(history, progress_figures)}};
}

Position read_position(const SafetensorsFile& file, const TrainingTask& task,
                       const TrainerOptions& options) {
  const Reader reader(file);
  std::vector<Place> places(1);
  reader.read("place.counts", place_counts, places);
  reader.read("place.figures", place_figures, places);
  Position at{.place = places[0], .history = {}};
  if (file.find("place.gradient_norm"))  // not in older checkpoints
    at.place.gradient_norm = file.tensor("place.gradient_norm").item<double>();
  if (file.find("place.training"))
    at.place.training = file.tensor("place.training").item<std::int64_t>();
  reader.read("history.counts", progress_counts, at.history);
  reader.read("history.figures", progress_figures, at.history);
  const std::int64_t validations = std::ssize(at.history);
  drop_repeated(at.history);
  check_steps(reader, at.place, task, options, file.source());
  StepsBefore steps_before(task);
  Progress before;
  for (std::size_t i = 0; i < at.history.size(); ++i) {
    check_row(reader, at.history[i], before, at.place, task, steps_before, i);
    before = at.history[i];
  }
  check_place(reader, at.place, at.history, validations, options);
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

// Other values of the same shapes would load, and mean nothing.
void check_same_training(const SafetensorsFile& file, const Metadata& expected) {
  for (const auto& [key, value] : expected) {
    const auto entry = file.metadata().find(key);
    const std::string found = entry == file.metadata().end() ? "" : entry->second;
    if (found != value)
      state_error("train", "{} is of another training: {}", file.source(),
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
        "train", "{}: {} = '{}': must be '{}': it is not a model of {}", file.source(), kTrainingId,
        found, wanted.at(kTrainingId),
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
        value_error("train", "{} = {} is the file of {} too: must be another file", name,
                    path->string(), other);
    known.emplace_back(name, target);
  }
}

}  // namespace fovea::optim::detail
