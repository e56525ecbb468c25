// The training loop: epochs of batches, validation, early stopping, best and last checkpoint, exact
// resumption, a log, and a checkpoint on Ctrl-C, SIGTERM and SIGHUP.
//
// The trainer does not depend on modules: it takes named tensors, an optimizer and three functions.
//
//   const TrainingResult result = optim::train(
//       {.model = model.state(), .optimizer = &adam, .batches = ..., .loss = ..., .validate = ...},
//       {.max_epochs = 10, .best = "model.safetensors"});
#pragma once

#include <fovea/core/file_lock.h>
#include <fovea/core/random.h>
#include <fovea/core/state.h>
#include <fovea/optim/optimizer.h>
#include <fovea/optim/schedule.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace fovea::optim {

/// Model, optimizer and functions of a training. Epochs, batches and steps count from 0.
struct TrainingTask {
  NamedTensors model = {};            ///< trained and saved: parameters and buffers
  Optimizer* optimizer = nullptr;     ///< for the model's parameters
  Schedule learning_rate = {};        ///< per step; empty: the optimizer's rate
  std::vector<Rng*> generators = {};  ///< saved and restored, so that dropout continues exactly

  struct Loss {
    Tensor value;             ///< a scalar: the mean over `weight` items
    std::int64_t weight = 1;  ///< number of tokens, or of other items of the mean
  };
  std::function<std::int64_t(std::int64_t epoch)> batches = {};  ///< number of batches in the epoch
  /// Loss of one batch, in training mode. For exact resumption it must depend only on its two
  /// arguments, the model and the generators.
  std::function<Loss(std::int64_t epoch, std::int64_t batch)> loss = {};
  /// Returns the validation metric. Runs under NoGrad; empty: no validation. The model must be in
  /// evaluation mode: dropout is a StateError here, on this thread. A long validation should call
  /// check_interrupt() (optim/interrupt.h) regularly, so that Ctrl-C takes effect before its end.
  std::function<double()> validate = {};
  /// Called with true before the first step and after each validation, with false before each
  /// validation: [&](bool on) { model.train(on); }. If empty, `loss` and `validate` must set the
  /// mode.
  std::function<void(bool on)> set_training = {};
};

/// Locks of the files that a training writes: .fovea-FILE.lock in the directory of each file.
/// StateError with the process id of the training that holds a lock. An empty path and a file that
/// is not a regular file are not locked.
class TrainingLock {
 public:
  TrainingLock(const std::filesystem::path& best, const std::filesystem::path& last);

 private:
  std::vector<FileLock> locks_;
};

struct TrainerOptions {
  std::int64_t max_epochs = 10;
  double max_seconds = std::numeric_limits<double>::infinity();  ///< of training, over all runs
  double clip_norm = 0;                                          ///< 0: no clipping
  double average = 0;               ///< decay of WeightAverage; > 0: the average is validated and
                                    ///< saved as `best`; 0: no averaging
  std::int64_t validate_every = 0;  ///< steps; 0: at the end of each epoch
  std::int64_t patience = 0;        ///< consecutive validations without improvement; 0: no limit
  bool higher_is_better = false;    ///< direction of the validation metric
  std::filesystem::path best = {};  ///< best model so far, the latest if equal; empty: not saved
  std::filesystem::path last = {};  ///< everything needed to resume; empty: not saved
  double save_every = 600;          ///< maximum seconds between two writes of `last`
  Metadata metadata = {};           ///< saved in both; must equal the checkpoint's when resuming
  bool resume = false;              ///< continue from `last`
  std::filesystem::path log = {};   ///< .csv, or JSON lines otherwise; empty: none
  /// Where the caller saves the trained model with TrainingResult::metadata, if not at `best`:
  /// resuming is an error if this file exists and another training wrote it. Empty: none.
  std::filesystem::path model_file = {};
  /// Ctrl-C, SIGTERM or SIGHUP end the run after the current step (optim/interrupt.h).
  bool catch_interrupt = true;
  const TrainingLock* lock = nullptr;  ///< held by the caller; null: train() takes the lock
};

/// State of the training after a step.
struct Progress {
  std::int64_t epoch = 0;        ///< the epoch that the step belongs to, from 0
  std::int64_t batch = 0;        ///< completed batches of the epoch
  std::int64_t batches = 0;      ///< all batches of the epoch
  std::int64_t step = 0;         ///< completed steps, over all runs
  double loss = 0;               ///< running mean over about fifty steps
  double gradient_norm = 0;      ///< before clipping; 0 without clipping
  double learning_rate = 0;      ///< of the step
  double tokens_per_second = 0;  ///< sum of the loss weights per second
  double seconds = 0;            ///< training time over all runs, without validation
  double seconds_left = 0;       ///< until max_epochs or max_seconds is reached
  double validation = std::numeric_limits<double>::quiet_NaN();  ///< of this step, else NaN
  double best = std::numeric_limits<double>::quiet_NaN();        ///< best validation so far
};

enum class StoppedBy { epochs, time, patience, interrupt };

struct TrainingResult {
  StoppedBy stopped_by = StoppedBy::epochs;
  /// Signal recorded during the run, 0 for none. If it arrived after the last step, while the files
  /// were written, stopped_by is not StoppedBy::interrupt.
  int signal = 0;
  Progress last;
  std::int64_t tokens = 0;  ///< sum of the loss weights, over all runs
  Metadata metadata;  ///< of the options, and the id that identifies the files of this training
  std::vector<Progress> history;  ///< per validation (without one: per epoch), over all runs
};

/// Trains until a limit is reached. Afterwards the model has its best weights if `best` is set,
/// else the last ones, or their average if there is one (after an interrupt always the last).
/// `report` is called after each step, and once more if there is a validation only because training
/// ends; the trainer itself prints nothing. `last` is written with each row of the history, before
/// the first validation, every `save_every` seconds and at the end; existing files at `best` and
/// `last` are replaced. A model that has become NaN or infinite is not saved.
///
/// A resumed training gives the same values and rows, bit for bit, as an uninterrupted one; only
/// max_epochs, max_seconds, patience and save_every may differ between the runs. One exception: the
/// validation made only because a run ends. A run that continues from there drops its row, but the
/// model stays `best` if its metric was as good as the best so far, and patience counts from it if
/// it was better.
///
/// ValueError for a missing part of the task, options out of range, an epoch without batches, or
/// the same file for two of best, last and log. Error if one of them cannot be written. StateError,
/// FormatError if the checkpoint does not match or holds values that no training of this task can
/// reach, if `best` or `model_file` is not a file that this training wrote, and if another training
/// writes these files. NonFiniteError for a loss or a gradient norm that is not finite: it names
/// the step, and the model is unchanged by that step.
TrainingResult train(const TrainingTask& task, const TrainerOptions& options,
                     const std::function<void(const Progress&)>& report = {});

/// "epoch 3  batch 120/450  loss 2.413  18.2k tokens/s  1:24 left": one line for a terminal.
std::string progress_line(const Progress& progress);

}  // namespace fovea::optim
