// The loop that people write again and again: epochs of batches, validation, early stopping, best
// and last checkpoint, exact resumption, a log, and a polite end on Ctrl-C.
//
// The trainer knows no model: it is given named tensors, an optimiser and three functions.
//
//   const TrainingResult result = optim::train(
//       {.model = model.state(), .optimizer = &adam, .batches = ..., .loss = ..., .validate = ...},
//       {.max_epochs = 10, .best = "model.safetensors"});
#pragma once

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
  std::function<double()> validate = {};  ///< runs under NoGrad; empty: no validation
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
  Metadata metadata = {};           ///< goes into both; a checkpoint resumed from must agree
  bool resume = false;              ///< go on from `last`
  std::filesystem::path log = {};   ///< .csv, or JSON lines otherwise; empty: none
  bool catch_interrupt = true;      ///< Ctrl-C ends the run after the current step
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
  Progress last;
  std::int64_t tokens = 0;        ///< the sum of the losses' weights, over all runs
  std::vector<Progress> history;  ///< at each validation (without one: epoch's end), over all runs
};

/// Trains until an end is reached. With `best`, the model ends with its best numbers, else with its
/// last ones, or their average if there is one (after an interrupt always the last). `report` is
/// called after each step, and once more if the last one is validated only because it is the last;
/// the trainer itself prints nothing. `last` is written with each row of the history and at the
/// end.
///
/// Resuming gives the same numbers, bit for bit, as never having stopped; only max_epochs,
/// max_seconds and patience may be others than before.
///
/// ValueError for a task that lacks a part, or an epoch without batches. StateError, FormatError
/// where the checkpoint does not fit. NonFiniteError for a loss or a gradient norm that is not
/// finite: it names the step, and the model is as it was before it.
TrainingResult train(const TrainingTask& task, const TrainerOptions& options,
                     const std::function<void(const Progress&)>& report = {});

/// "epoch 3  batch 120/450  loss 2.413  18.2k tokens/s  1:24 left": for a terminal's last line.
std::string progress_line(const Progress& progress);

}  // namespace fovea::optim
