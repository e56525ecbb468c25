#include <fovea/core/autograd.h>
#include <fovea/core/files.h>
#include <fovea/core/sizes.h>
#include <fovea/optim/average.h>
#include <fovea/optim/clip.h>
#include <fovea/optim/interrupt.h>
#include <fovea/optim/trainer.h>
#include <fovea/optim/trainer_detail.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace fovea::optim {
namespace {

using namespace detail;
using Clock = std::chrono::steady_clock;

class Run {
 public:
  Run(const TrainingTask& task, const TrainerOptions& options,
      const std::function<void(const Progress&)>& report)
      : task_(task), options_(options), report_(report), log_(options.log) {
    if (options_.average != 0) average_.emplace(task_.model, options_.average);
    for (const auto& [name, tensor] : task_.model)
      if (non_finite(tensor).empty()) finite_.emplace_back(name, tensor);
  }

  TrainingResult operator()() {
    const InterruptGuard guard(options_.catch_interrupt);
    if (options_.resume) restore();
    set_training(true);
    if (due() && !measured()) validate_again();
    while (!ended()) advance();
    finish();
    return result_;
  }

 private:
  bool ended() {
    if (abandoned_) {
      result_.stopped_by = StoppedBy::interrupt;
    } else if (state_.epoch >= options_.max_epochs) {
      result_.stopped_by = StoppedBy::epochs;
    } else if (interrupt_signal() != 0) {
      result_.stopped_by = StoppedBy::interrupt;
    } else if (state_.seconds >= options_.max_seconds) {
      result_.stopped_by = StoppedBy::time;
    } else if (options_.patience > 0 && state_.since_best >= options_.patience) {
      result_.stopped_by = StoppedBy::patience;
    } else {
      return false;
    }
    return true;
  }

  // Whether a validation follows the last step.
  bool due() const { return state_.step > 0 && due_after(state_.step, state_.batch == 0); }
  bool due_after(std::int64_t step, bool epoch_ends) const {
    return options_.validate_every > 0 ? step % options_.validate_every == 0 : epoch_ends;
  }
  // Whether that validation has been made.
  bool measured() const {
    return !result_.history.empty() && result_.history.back().step == state_.step;
  }

  // The previous run was interrupted during this validation.
  void validate_again() {
    validate();
    if (report_) report_(result_.last);
    save_last();
  }

  // One step, then validation and checkpoint if they are due.
  void advance() {
    step();
    if (due()) validate();
    if (report_) report_(result_.last);
    if (due() || state_.batch == 0 || save_is_due()) save_last();
  }

  void step() {
    if (state_.batch == 0) state_.batches = batches_of(task_, state_.epoch);
    const auto start = Clock::now();
    Optimizer& optimizer = *task_.optimizer;
    if (task_.learning_rate) optimizer.set_lr(task_.learning_rate(state_.step));
    optimizer.zero_grad();
    const TrainingTask::Loss loss = task_.loss(state_.epoch, state_.batch);
    const auto value = loss.value.item<double>();
    check_finite("loss", value);
    if (loss.weight < 0)
      value_error("train", "loss weight = {}: must not be negative", loss.weight);
    const std::int64_t tokens =
        checked_add("train: sum of loss weights", state_.tokens, loss.weight);
    loss.value.backward();
    state_.gradient_norm = 0;
    if (options_.clip_norm > 0) {
      state_.gradient_norm = clip_grad_norm(task_.model, options_.clip_norm);
      check_finite("gradient's norm", state_.gradient_norm);
    }
    optimizer.step();
    if (average_) average_->update(state_.step);

    constexpr double memory = 0.98;  // of the running loss: about fifty steps
    state_.running_loss =
        state_.step == 0 ? value : memory * state_.running_loss + (1 - memory) * value;
    state_.tokens = tokens;
    ++state_.step;
    if (++state_.batch == state_.batches) {
      ++state_.epoch;
      state_.batch = 0;
    }
    state_.seconds += std::chrono::duration<double>(Clock::now() - start).count();
    if (state_.step == 1) state_.training = training_id(task_, options_.metadata);
    result_.last = progress();
  }

  void check_finite(const char* what, double value) const {
    if (!std::isfinite(value))
      raise<NonFiniteError>("train",
                            "the {} of step {} (epoch {}, batch {}) is {}: TraceNonFinite "
                            "(core/diagnose.h) finds the op that produced it",
                            what, state_.step, state_.epoch, state_.batch, value);
  }

  // After the last step, which belongs to the previous epoch if that one is complete.
  Progress progress() const {
    const bool complete = state_.batch == 0;
    const std::int64_t epoch = state_.epoch - complete;
    const std::int64_t batch = complete ? state_.batches : state_.batch;
    const double done = static_cast<double>(epoch) +
                        static_cast<double>(batch) / static_cast<double>(state_.batches);
    const double to_do = static_cast<double>(options_.max_epochs) - done;
    return {.epoch = epoch,
            .batch = batch,
            .batches = state_.batches,
            .step = state_.step,
            .loss = state_.running_loss,
            .gradient_norm = state_.gradient_norm,
            .learning_rate = task_.optimizer->lr(),
            .tokens_per_second = static_cast<double>(state_.tokens) / state_.seconds,
            .seconds = state_.seconds,
            .seconds_left = std::min(state_.seconds / done * to_do,
                                     std::max(0.0, options_.max_seconds - state_.seconds)),
            .best = state_.best};
  }

  // Adds a row to the history, with the validation if there is one. An interrupted validation adds
  // no row: the next run repeats it.
  void validate() {
    if (task_.validate) {
      if (!saved_once_ || save_is_due()) save_last();
      if (!measure()) return;
    }
    result_.history.push_back(result_.last);
    if (!options_.log.empty()) log_.write(log_text(result_.history, options_.log));
  }

  // False if a signal interrupted it. The next run repeats it with the same random numbers.
  bool measure() {
    std::vector<RngState> before;
    for (const Rng* rng : task_.generators) before.push_back(rng->state());
    try {
      const NoGrad guard;
      const ModelForValidation model(*this);
      double figure = 0;
      {
        const RefuseDropout no_dropout;
        figure = task_.validate();
      }
      count(figure);
      return true;
    } catch (const Interrupted&) {
      if (interrupt_signal() == 0) throw;  // thrown by the caller, not after a signal
      for (std::size_t i = 0; i < before.size(); ++i) task_.generators[i]->set_state(before[i]);
      abandoned_ = true;
      return false;
    }
  }

  void count(double figure) {
    result_.last.validation = figure;
    const bool better = is_better(figure, state_.best, options_.higher_is_better);
    state_.since_best = better ? 0 : state_.since_best + 1;
    if (better || figure == state_.best) {
      state_.best = figure;
      if (!options_.best.empty())
        save_finite(options_.best, task_.model,
                    with_training_id(options_.metadata, state_.training));
    }
    result_.last.best = state_.best;
  }

  // While this object exists, the model is in evaluation mode and has the averaged weights.
  class ModelForValidation {
   public:
    explicit ModelForValidation(Run& run) : run_(run) {
      if (run_.average_) run_.average_->swap();
      run_.set_training(false);
    }
    ~ModelForValidation() {
      run_.set_training(true);
      if (run_.average_) run_.average_->swap();
    }
    ModelForValidation(const ModelForValidation&) = delete;
    ModelForValidation& operator=(const ModelForValidation&) = delete;

   private:
    Run& run_;
  };

  void set_training(bool on) const {
    if (task_.set_training) task_.set_training(on);
  }

  void finish() {
    // max_seconds can end anywhere, and validate_every need not divide the number of steps:
    // validate the last steps too. Not after an interrupt: the next run continues from here.
    if (result_.stopped_by != StoppedBy::interrupt && !measured() && state_.step > 0) {
      save_last();
      validate();
      if (abandoned_) result_.stopped_by = StoppedBy::interrupt;
      if (report_) report_(result_.last);
    }
    save_last();
    const bool interrupted = result_.stopped_by == StoppedBy::interrupt;
    if (!options_.best.empty() && !std::isnan(state_.best)) {
      const SafetensorsFile best = SafetensorsFile::read(options_.best);
      check_is_ours(best, state_.training, options_);
      load_into(best, task_.model);
    } else if (average_ && !interrupted) {
      average_->swap();
    }
    result_.tokens = state_.tokens;
    result_.metadata = with_training_id(options_.metadata, state_.training);
    result_.signal = interrupt_signal();  // also one after the last step
  }

  // --- checkpoints -------------------------------------------------------------------------------

  // The tensors of `last`. State and generators are copies, the others are the trained tensors.
  NamedTensors everything(const NamedTensors& state, const NamedTensors& generators) const {
    NamedTensors all = state;
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

  bool save_is_due() const {
    return std::chrono::duration<double>(Clock::now() - saved_at_).count() >= options_.save_every;
  }

  void save_last() {
    if (options_.last.empty()) return;
    const auto rows = std::ssize(result_.history);
    if (saved_once_ && saved_step_ == state_.step && saved_rows_ == rows)
      return;  // already written
    save_finite(options_.last, everything(to_tensors(state_, result_.history), generators()),
                options_.metadata);
    saved_once_ = true;
    saved_step_ = state_.step;
    saved_rows_ = rows;
    saved_at_ = Clock::now();
  }

  // A model with NaN must not replace the last good file.
  void save_finite(const std::filesystem::path& path, const NamedTensors& tensors,
                   const Metadata& metadata) const {
    for (const auto& [name, tensor] : finite_)
      if (const std::string bad = non_finite(tensor); !bad.empty())
        raise<NonFiniteError>("train", "'{}' holds {} after step {}: {} is not written", name, bad,
                              state_.step, path.string());
    save(path, tensors, metadata);
  }

  void restore() {
    const SafetensorsFile file = SafetensorsFile::read(options_.last);
    check_same_training(file, options_.metadata);
    const Position at = read_position(file, task_, options_);
    NamedTensors state = to_tensors(at.state, at.history);
    take_shapes(file, state);
    const NamedTensors states = generators();
    load_into(file, everything(state, states),
              {.finite = true, .check = [&](const std::string& name, const Tensor& value) {
                 check_tensor(file.source(), name, value, at.state.step);
               }});
    for (std::size_t i = 0; i < states.size(); ++i)
      rng_from_tensor(*task_.generators[i], states[i].second);
    state_ = at.state;
    result_.history = at.history;
    if (measured()) {
      result_.last = result_.history.back();
    } else if (state_.step > 0) {
      result_.last = progress();
    }
    check_models();
    forget_final_validation();
  }

  // Targets for load_into() in the shapes of the file: repeated rows were dropped from `state`, and
  // older checkpoints lack some entries.
  static void take_shapes(const SafetensorsFile& file, NamedTensors& state) {
    std::erase_if(state, [&](const auto& entry) { return !file.find(entry.first); });
    for (auto& [name, tensor] : state) tensor = file.tensor(name);
  }

  void check_tensor(const std::string& source, const std::string& name, const Tensor& value,
                    std::int64_t steps) const {
    constexpr std::string_view optimizer = "optimizer.", generator = "generator.";
    if (name.starts_with(optimizer))
      task_.optimizer->check_state(source, name.substr(optimizer.size()), value, steps);
    if (name.starts_with(generator))
      if (const auto words = value.to_vector<std::int64_t>(); words[2] < 0)
        state_error("train", "{}: {}: position = {}: must not be negative", source, name, words[2]);
  }

  // Checked now because they are read only at the end, hours later.
  void check_models() const {
    if (!options_.model_file.empty() && std::filesystem::exists(options_.model_file))
      check_is_ours(SafetensorsFile::read(options_.model_file), state_.training, options_);
    if (options_.best.empty() || std::isnan(state_.best)) return;
    if (!std::filesystem::exists(options_.best))
      state_error("train", "{} is missing: the best model before {} was written",
                  options_.best.string(), options_.last.string());
    check_is_ours(SafetensorsFile::read(options_.best), state_.training, options_);
  }

  // Drops the row of a validation that was made only because the run ended: an uninterrupted run
  // does not have it.
  void forget_final_validation() {
    if (!measured() || due() || ended()) return;
    result_.history.pop_back();
    if (state_.since_best > 0) --state_.since_best;
  }

  const TrainingTask& task_;
  const TrainerOptions& options_;
  const std::function<void(const Progress&)>& report_;
  GrowingText log_;
  TrainerState state_;
  TrainingResult result_;
  std::optional<WeightAverage> average_;
  NamedTensors finite_;     // finite at the start: excludes, for example, a mask with infinities
  bool abandoned_ = false;  // a signal interrupted the validation
  bool saved_once_ = false;
  std::int64_t saved_step_ = 0, saved_rows_ = 0;
  Clock::time_point saved_at_ = Clock::now();
};

void check_options(const TrainerOptions& o) {
  checked_range("train", "max_epochs", o.max_epochs, 0);
  checked_range("train", "validate_every", o.validate_every, 0);
  checked_range("train", "patience", o.patience, 0);
  for (const auto& [name, value] :
       {std::pair("max_seconds", o.max_seconds), std::pair("clip_norm", o.clip_norm),
        std::pair("save_every", o.save_every)})
    if (!(value >= 0)) value_error("train", "{} = {}: must be at least 0", name, value);
  if (o.resume && o.last.empty())
    value_error("train", "last is empty: must be the checkpoint's path with resume");
}

}  // namespace

TrainingLock::TrainingLock(const std::filesystem::path& best, const std::filesystem::path& last) {
  for (const std::filesystem::path* path : {&best, &last})
    if (!path->empty() && !(path == &last && best == last) && !OutputTarget(*path, "train").stream)
      locks_.emplace_back("train", *path);
}

TrainingResult train(const TrainingTask& task, const TrainerOptions& options,
                     const std::function<void(const Progress&)>& report) {
  if (!task.optimizer || !task.batches || !task.loss)
    value_error("train", "the task has no {}: an optimizer, batches and a loss are required",
                !task.optimizer ? "optimizer"
                : !task.batches ? "batches"
                                : "loss");
  for (std::size_t i = 0; i < task.generators.size(); ++i)
    if (!task.generators[i]) value_error("train", "generator {} is null: must be an Rng", i);
  check_options(options);
  check_files(options);
  std::optional<TrainingLock> lock;
  if (!options.lock) lock.emplace(options.best, options.last);
  return Run(task, options, report)();
}

}  // namespace fovea::optim
