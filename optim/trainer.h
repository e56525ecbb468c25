// The loop that people write again and again: epochs of batches, validation, early stopping, best
// and last checkpoint, exact resumption, a log, and an end that saves on Ctrl-C, SIGTERM and
// SIGHUP.
//
// The trainer knows no model: it is given named tensors, an optimiser and three functions.
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

/// What the trainer trains, and how it looks at it. Epochs, batches and steps count from 0.
struct TrainingTask {
  NamedTensors model = {};            ///< what is trained and saved: parameters and buffers
  Optimizer* optimizer = nullptr;     ///< of the model's parameters
  Schedule learning_rate = {};        ///< of the step; empty: what the optimiser has
  std::vector<Rng*> generators = {};  ///< saved and restored: dropout goes on where it stopped

  struct Loss {
    Tensor value;             ///< one number: the mean over `weight` things
    std::int64_t weight = 1;  ///< tokens, or whatever the loss is a mean over
  };
  std::function<std::int64_t(std::int64_t epoch)> batches = {};  ///< how many the epoch has
  /// Of one batch, in training mode. To resume exactly, it must follow from its two arguments, the
  /// model and the generators alone.
  std::function<Loss(std::int64_t epoch, std::int64_t batch)> loss = {};
  /// Runs under NoGrad; empty: no validation. The model must be in evaluation mode: dropout is a
  /// StateError here, on this thread. A long one calls check_interrupt() (optim/interrupt.h) now
  /// and then, so that Ctrl-C need not wait for its end.
  std::function<double()> validate = {};
  /// Called with true before the first step and after each validation, with false before one:
  /// [&](bool on) { model.train(on); }. Without it, `loss` and `validate` have to do that.
  std::function<void(bool on)> set_training = {};
};

/// Locks of the files that a training writes, .fovea-FILE.lock beside each. StateError with the
/// process id of the training that has them. Not locked: "", and what is no regular file.
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
  double average = 0;               ///< decay of WeightAverage; > 0: what is validated and kept as
                                    ///< `best` is the average; 0: the model as it is
  std::int64_t validate_every = 0;  ///< steps; 0: at the end of each epoch
  std::int64_t patience = 0;        ///< validations in a row that are no better; 0: any number
  bool higher_is_better = false;    ///< of the validation's figure
  std::filesystem::path best = {};  ///< the best model so far, of equals the last; empty: not kept
  std::filesystem::path last = {};  ///< all that resuming needs; empty: not kept
  double save_every = 600;          ///< seconds between two writings of `last`, at most
  Metadata metadata = {};           ///< goes into both; a checkpoint resumed from must agree
  bool resume = false;              ///< go on from `last`
  std::filesystem::path log = {};   ///< .csv, or JSON lines otherwise; empty: none
  /// Where the caller saves the trained model with TrainingResult::metadata, if not at `best`:
  /// resuming refuses a file there that this training did not write. Empty: nowhere.
  std::filesystem::path model_file = {};
  /// Ctrl-C, SIGTERM or SIGHUP end the run after the current step (optim/interrupt.h).
  bool catch_interrupt = true;
  const TrainingLock* lock = nullptr;  ///< that the caller holds; null: train() takes one
};

/// What is known after a step.
struct Progress {
  std::int64_t epoch = 0;        ///< the epoch that the step belongs to, from 0
  std::int64_t batch = 0;        ///< batches of it that are done
  std::int64_t batches = 0;      ///< and in all
  std::int64_t step = 0;         ///< steps done, over all runs
  double loss = 0;               ///< running mean over about fifty steps
  double gradient_norm = 0;      ///< before clipping; 0 without clipping
  double learning_rate = 0;      ///< of the step
  double tokens_per_second = 0;  ///< the loss's weights a second
  double seconds = 0;            ///< of training over all runs, validation not counted
  double seconds_left = 0;       ///< to the end of max_epochs, or of max_seconds
  double validation = std::numeric_limits<double>::quiet_NaN();  ///< just measured, else NaN
  double best = std::numeric_limits<double>::quiet_NaN();        ///< of the validations so far
};

enum class StoppedBy { epochs, time, patience, interrupt };

struct TrainingResult {
  StoppedBy stopped_by = StoppedBy::epochs;
  /// Signal noted during the run, 0 for none. It may have come after the last step, while the files
  /// were written: then stopped_by is not StoppedBy::interrupt.
  int signal = 0;
  Progress last;
  std::int64_t tokens = 0;  ///< the sum of the losses' weights, over all runs
  Metadata metadata;  ///< of the options, and the id by which a file of this training is known
  std::vector<Progress> history;  ///< at each validation (without one: epoch's end), over all runs
};

/// Trains until an end is reached. With `best`, the model ends with its best values, else with its
/// last ones, or their average if there is one (after an interrupt always the last). `report` is
/// called after each step, and once more if the last one is validated only because it is the last;
/// the trainer itself prints nothing. `last` is written with each row of the history, before the
/// first validation, every `save_every` seconds and at the end; what was at `best` and `last`
/// before is replaced. A model that has become NaN or infinite is not saved.
///
/// Resuming gives the same values and rows, bit for bit, as never having stopped; only max_epochs,
/// max_seconds, patience and save_every may be others than before. One exception: the validation
/// that a run makes only because it ends. A run that goes on from there drops its row, but the
/// model stays `best` if its figure was as good as the best so far, and patience counts from it if
/// it was better.
///
/// ValueError for a task that lacks a part, options out of range, an epoch without batches, or one
/// file for two of best, last and log. Error where one of them cannot be written.
/// StateError, FormatError where the checkpoint does not fit or holds what no training of this task
/// can reach, where `best` or `model_file` is not a file that this training wrote, and where
/// another training writes these files. NonFiniteError for a loss or a gradient norm that is not
/// finite: it names the step, and the model is as it was before it.
TrainingResult train(const TrainingTask& task, const TrainerOptions& options,
                     const std::function<void(const Progress&)>& report = {});

/// "epoch 3  batch 120/450  loss 2.413  18.2k tokens/s  1:24 left": for a terminal's last line.
std::string progress_line(const Progress& progress);

}  // namespace fovea::optim
