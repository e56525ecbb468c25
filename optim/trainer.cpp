#include <fovea/core/autograd.h>
#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/sizes.h>
#include <fovea/optim/average.h>
#include <fovea/optim/clip.h>
#include <fovea/optim/trainer.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fovea::optim {
namespace {

using Clock = std::chrono::steady_clock;

// --- Ctrl-C --------------------------------------------------------------------------------------

volatile std::sig_atomic_t interrupted = 0;

extern "C" void note_interrupt(int) {
  interrupted = 1;
  std::signal(SIGINT, SIG_DFL);  // a second Ctrl-C ends the program at once
}

// While it lives, SIGINT becomes a flag; then the handler from before is back.
class InterruptGuard {
 public:
  explicit InterruptGuard(bool on) : on_(on) {
    interrupted = 0;
    if (on_) before_ = std::signal(SIGINT, note_interrupt);
  }
  ~InterruptGuard() {
    if (on_) std::signal(SIGINT, before_ == SIG_ERR ? SIG_DFL : before_);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  bool on_;
  void (*before_)(int) = SIG_DFL;
};

// --- the place in a training, as tensors ---------------------------------------------------------

// What a checkpoint needs besides the model, the optimiser and the generators.
struct Place {
  std::int64_t epoch = 0, batch = 0, batches = 0, step = 0, tokens = 0, since_best = 0;
  double seconds = 0, running_loss = 0, best = std::numeric_limits<double>::quiet_NaN();
};

constexpr std::int64_t Place::*place_counts[] = {&Place::epoch, &Place::batch,  &Place::batches,
                                                 &Place::step,  &Place::tokens, &Place::since_best};
constexpr double Place::*place_figures[] = {&Place::seconds, &Place::running_loss, &Place::best};

constexpr std::int64_t Progress::*progress_counts[] = {&Progress::epoch, &Progress::batch,
                                                       &Progress::batches, &Progress::step};
constexpr double Progress::*progress_figures[] = {
    &Progress::loss,       &Progress::gradient_norm, &Progress::learning_rate,
    &Progress::seconds,    &Progress::seconds_left,  &Progress::tokens_per_second,
    &Progress::validation, &Progress::best};

// Records as rows of a matrix, a column for each of their fields.    (rows, fields)
template <class T, class Record, std::size_t N>
Tensor to_tensor(const std::vector<Record>& rows, T Record::*const (&fields)[N]) {
  std::vector<T> numbers;
  for (const Record& row : rows)
    for (const auto field : fields) numbers.push_back(row.*field);
  return from_data(numbers, {std::ssize(rows), static_cast<std::int64_t>(N)});
}

template <class T, class Record, std::size_t N>
void from_tensor(const Tensor& tensor, T Record::*const (&fields)[N], std::vector<Record>& rows) {
  rows.resize(static_cast<std::size_t>(tensor.dim(0)));
  const std::vector<T> numbers = tensor.to_vector<T>();
  auto number = numbers.begin();
  for (Record& row : rows)
    for (const auto field : fields) row.*field = *number++;
}

// Numbers that load_into() can fill, with the bits of what they were made from.
struct PlaceTensors {
  Tensor counts, figures, history_counts, history_figures;

  PlaceTensors(const Place& place, const std::vector<Progress>& history)
      : counts(to_tensor(std::vector{place}, place_counts)),
        figures(to_tensor(std::vector{place}, place_figures)),
        history_counts(to_tensor(history, progress_counts)),
        history_figures(to_tensor(history, progress_figures)) {}

  NamedTensors named() const {
    return {{"place.counts", counts},
            {"place.figures", figures},
            {"history.counts", history_counts},
            {"history.figures", history_figures}};
  }

  Place place() const {
    std::vector<Place> one;
    from_tensor(counts, place_counts, one);
    from_tensor(figures, place_figures, one);
    return one[0];
  }

  std::vector<Progress> history() const {
    std::vector<Progress> rows;
    from_tensor(history_counts, progress_counts, rows);
    from_tensor(history_figures, progress_figures, rows);
    return rows;
  }
};

// --- the log -------------------------------------------------------------------------------------

// A number that JSON can hold; it has no NaN.
std::string number_or(const char* nothing, double value) {
  return std::isfinite(value) ? fmt::format("{:.6g}", value) : nothing;
}

std::string csv_log(const std::vector<Progress>& history) {
  std::string text =
      "epoch,step,seconds,loss,learning_rate,gradient_norm,tokens_per_second,validation\n";
  for (const Progress& p : history)
    text += fmt::format("{},{},{:.3f},{:.6g},{:.6g},{:.6g},{:.1f},{}\n", p.epoch + 1, p.step,
                        p.seconds, p.loss, p.learning_rate, p.gradient_norm, p.tokens_per_second,
                        number_or("", p.validation));
  return text;
}

std::string json_log(const std::vector<Progress>& history) {
  std::string text;
  for (const Progress& p : history)
    text += fmt::format(
        R"({{"epoch": {}, "step": {}, "seconds": {:.3f}, "loss": {:.6g}, )"
        R"("learning_rate": {:.6g}, "gradient_norm": {:.6g}, "tokens_per_second": {:.1f}, )"
        R"("validation": {}}})"
        "\n",
        p.epoch + 1, p.step, p.seconds, p.loss, p.learning_rate, p.gradient_norm,
        p.tokens_per_second, number_or("null", p.validation));
  return text;
}

// --- metadata that differs -----------------------------------------------------------------------

// "its options: seed is 3, not 4": of two JSON objects, the members that differ.
std::string difference(const std::string& key, const std::string& theirs, const std::string& ours) {
  using nlohmann::json;
  const json a = json::parse(theirs, nullptr, /*allow_exceptions=*/false);
  const json b = json::parse(ours, nullptr, /*allow_exceptions=*/false);
  if (!a.is_object() || !b.is_object()) {
    constexpr std::size_t shown = 60;  // a vocabulary is long
    if (theirs.size() > shown || ours.size() > shown) return fmt::format("its {} is another", key);
    return fmt::format("its {} is '{}', not '{}'", key, theirs, ours);
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

// --- the loop ------------------------------------------------------------------------------------

class Run {
 public:
  Run(const TrainingTask& task, const TrainerOptions& options,
      const std::function<void(const Progress&)>& report)
      : task_(task), options_(options), report_(report), log_(options.log) {
    if (options_.average != 0) average_.emplace(task_.model, options_.average);
  }

  TrainingResult operator()() {
    if (options_.resume) restore();
    const InterruptGuard guard(options_.catch_interrupt);
    while (!ended()) advance();
    finish();
    return result_;
  }

 private:
  bool ended() {
    if (place_.epoch >= options_.max_epochs) {
      result_.stopped_by = StoppedBy::epochs;
    } else if (interrupted) {
      result_.stopped_by = StoppedBy::interrupt;
    } else if (place_.seconds >= options_.max_seconds) {
      result_.stopped_by = StoppedBy::time;
    } else if (options_.patience > 0 && place_.since_best >= options_.patience) {
      result_.stopped_by = StoppedBy::patience;
    } else {
      return false;
    }
    return true;
  }

  // One step, and what is due after it.
  void advance() {
    if (place_.batch == 0) place_.batches = batches_of(place_.epoch);
    step();
    const bool epoch_ends = place_.batch == place_.batches;
    const bool due =
        options_.validate_every > 0 ? place_.step % options_.validate_every == 0 : epoch_ends;
    if (due) validate();
    if (report_) report_(result_.last);
    if (epoch_ends) {
      ++place_.epoch;
      place_.batch = 0;
    }
    if (due || epoch_ends) save_last();
  }

  std::int64_t batches_of(std::int64_t epoch) const {
    const std::int64_t batches = task_.batches(epoch);
    if (batches < 1)
      value_error("train", "epoch {} has {} batches: at least one is needed", epoch, batches);
    return batches;
  }

  void step() {
    const auto start = Clock::now();
    Optimizer& optimizer = *task_.optimizer;
    if (task_.learning_rate) optimizer.set_lr(task_.learning_rate(place_.step));
    optimizer.zero_grad();
    const TrainingTask::Loss loss = task_.loss(place_.epoch, place_.batch);
    const auto value = loss.value.item<double>();
    check_finite("loss", value);
    loss.value.backward();
    double norm = 0;
    if (options_.clip_norm > 0) {
      norm = clip_grad_norm(task_.model, options_.clip_norm);
      check_finite("gradient's norm", norm);
    }
    optimizer.step();
    if (average_) average_->update(place_.step);

    constexpr double memory = 0.98;  // of the running loss: about fifty steps
    place_.running_loss =
        place_.step == 0 ? value : memory * place_.running_loss + (1 - memory) * value;
    place_.tokens += loss.weight;
    ++place_.step;
    ++place_.batch;
    place_.seconds += std::chrono::duration<double>(Clock::now() - start).count();
    result_.last = progress(norm);
  }

  void check_finite(const char* what, double value) const {
    if (!std::isfinite(value))
      raise<NonFiniteError>("train",
                            "the {} of step {} (epoch {}, batch {}) is {}: TraceNonFinite "
                            "(core/diagnose.h) finds the op that it comes from",
                            what, place_.step, place_.epoch, place_.batch, value);
  }

  Progress progress(double gradient_norm) const {
    const double done = static_cast<double>(place_.epoch) +
                        static_cast<double>(place_.batch) / static_cast<double>(place_.batches);
    const double to_do = static_cast<double>(options_.max_epochs) - done;
    return {.epoch = place_.epoch,
            .batch = place_.batch,
            .batches = place_.batches,
            .step = place_.step,
            .loss = place_.running_loss,
            .gradient_norm = gradient_norm,
            .learning_rate = task_.optimizer->lr(),
            .tokens_per_second = static_cast<double>(place_.tokens) / place_.seconds,
            .seconds = place_.seconds,
            .seconds_left = std::min(place_.seconds / done * to_do,
                                     std::max(0.0, options_.max_seconds - place_.seconds)),
            .best = place_.best};
  }

  // Adds a row to the history, with a validation if there is one.
  void validate() {
    if (task_.validate) {
      const NoGrad guard;
      const AverageInPlace in_place(average_);
      const double figure = result_.last.validation = task_.validate();
      place_.since_best = better(figure) ? 0 : place_.since_best + 1;
      if (better(figure) || figure == place_.best) {
        place_.best = figure;
        if (!options_.best.empty()) save(options_.best, task_.model, options_.metadata);
      }
      result_.last.best = place_.best;
    }
    result_.history.push_back(result_.last);
    if (!options_.log.empty())
      log_.write(options_.log.extension() == ".csv" ? csv_log(result_.history)
                                                    : json_log(result_.history));
  }

  // While it lives, the model has its average's numbers.
  class AverageInPlace {
   public:
    explicit AverageInPlace(std::optional<WeightAverage>& average) : average_(average) {
      if (average_) average_->swap();
    }
    ~AverageInPlace() {
      if (average_) average_->swap();
    }
    AverageInPlace(const AverageInPlace&) = delete;
    AverageInPlace& operator=(const AverageInPlace&) = delete;

   private:
    std::optional<WeightAverage>& average_;
  };

  bool better(double figure) const {
    if (std::isnan(place_.best)) return !std::isnan(figure);
    return options_.higher_is_better ? figure > place_.best : figure < place_.best;
  }

  void finish() {
    // Time runs out anywhere, and validate_every need not divide the steps: the last ones count
    // too. After an interrupt nobody wants to wait, and the next run goes on from here.
    const bool measured = !result_.history.empty() && result_.history.back().step == place_.step;
    const bool interrupt = result_.stopped_by == StoppedBy::interrupt;
    if (!measured && !interrupt && place_.step > 0) {
      validate();
      if (report_) report_(result_.last);
    }
    save_last();
    if (!options_.best.empty() && !std::isnan(place_.best)) {
      load_into(options_.best, task_.model);
    } else if (average_ && !interrupt) {
      average_->swap();
    }
    result_.tokens = place_.tokens;
  }

  // --- checkpoints -------------------------------------------------------------------------------

  // The tensors of `last`. The place and the generators are copies, all else is what is trained.
  NamedTensors everything(const PlaceTensors& place, const NamedTensors& generators) const {
    NamedTensors all = place.named();
    append(all, "model", task_.model);
    append(all, "optimizer", task_.optimizer->state());
    append(all, "generator", generators);
    if (average_) append(all, "average", average_->state());
    return all;
  }

  NamedTensors generators() const {
    NamedTensors states;
    for (const Rng* rng : task_.generators)
      states.emplace_back(std::to_string(states.size()), rng_to_tensor(*rng));
    return states;
  }

  void save_last() const {
    if (options_.last.empty()) return;
    save(options_.last, everything({place_, result_.history}, generators()), options_.metadata);
  }

  void restore() {
    const SafetensorsFile file = SafetensorsFile::read(options_.last);
    check_same_training(file.metadata());
    const PlaceTensors place({}, std::vector<Progress>(rows_of_history(file)));
    const NamedTensors states = generators();
    load_into(file, everything(place, states));
    for (std::size_t i = 0; i < states.size(); ++i)
      rng_from_tensor(*task_.generators[i], states[i].second);
    place_ = place.place();
    result_.history = place.history();
    if (!result_.history.empty()) result_.last = result_.history.back();
    check_same_batches();
    check_best_is_there();
  }

  static std::size_t rows_of_history(const SafetensorsFile& file) {
    const SafetensorsEntry* entry = file.find("history.counts");
    return entry && !entry->shape.empty() ? static_cast<std::size_t>(entry->shape[0]) : 0;
  }

  // Other numbers of the same shapes would load, and mean nothing.
  void check_same_training(const Metadata& theirs) const {
    for (const auto& [key, ours] : options_.metadata) {
      const auto found = theirs.find(key);
      const std::string value = found == theirs.end() ? "" : found->second;
      if (value != ours)
        state_error("train", "{} is of another training: {}", options_.last.string(),
                    difference(key, value, ours));
    }
  }

  void check_same_batches() const {
    if (place_.batch == 0) return;
    const std::int64_t batches = batches_of(place_.epoch);
    if (batches != place_.batches)
      state_error("train", "{} stopped at batch {} of {}, and epoch {} has {} now",
                  options_.last.string(), place_.batch, place_.batches, place_.epoch, batches);
  }

  // It is wanted at the end, hours from now.
  void check_best_is_there() const {
    if (!options_.best.empty() && !std::isnan(place_.best) &&
        !std::filesystem::exists(options_.best))
      state_error("train", "{} is missing: the best model before {} was written",
                  options_.best.string(), options_.last.string());
  }

  const TrainingTask& task_;
  const TrainerOptions& options_;
  const std::function<void(const Progress&)>& report_;
  Place place_;
  TrainingResult result_;
  std::optional<WeightAverage> average_;
  GrowingText log_;
};

}  // namespace

TrainingResult train(const TrainingTask& task, const TrainerOptions& options,
                     const std::function<void(const Progress&)>& report) {
  if (!task.optimizer || !task.batches || !task.loss)
    value_error("train",
                "the task lacks {}: a model is trained with an optimizer, batches and a loss",
                !task.optimizer ? "an optimizer"
                : !task.batches ? "batches"
                                : "a loss");
  checked_range("train", "max_epochs", options.max_epochs, 0);
  checked_range("train", "validate_every", options.validate_every, 0);
  checked_range("train", "patience", options.patience, 0);
  if (options.resume && options.last.empty())
    value_error("train", "resume needs the path of the last checkpoint");
  return Run(task, options, report)();
}

}  // namespace fovea::optim
