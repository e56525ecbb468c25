// Parts of the trainer: its state as tensors, the validation of checkpoints, the log.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/optim/trainer.h>

#include <cstdint>
#include <string>
#include <vector>

namespace fovea::optim::detail {

/// Contents of a checkpoint besides the model, the optimizer, the average and the generators.
struct TrainerState {
  std::int64_t epoch = 0, batch = 0, batches = 0, step = 0, tokens = 0, since_best = 0;
  double seconds = 0, running_loss = 0, best = std::numeric_limits<double>::quiet_NaN();
  double gradient_norm = 0;   ///< of the last step
  std::int64_t training = 0;  ///< training_id(); 0: before the first step, or an older checkpoint's
};

/// The state as tensors that load_into() can fill, with exactly the same bits.
NamedTensors to_tensors(const TrainerState& state, const std::vector<Progress>& history);

struct Position {
  TrainerState state;
  std::vector<Progress> history;
};

/// The state in a checkpoint. StateError "train: FILE: name = value: must be ..." for every
/// value that no training of this task and these options can reach.
Position read_position(const SafetensorsFile& file, const TrainingTask& task,
                       const TrainerOptions& options);

/// ValueError for an epoch without batches.
std::int64_t batches_of(const TrainingTask& task, std::int64_t epoch);

/// Whether a validation metric is better than the best so far; NaN: no value yet.
bool is_better(double figure, double best, bool higher_is_better);

/// StateError that names the metadata entries in which `file` differs from `expected`.
void check_same_training(const SafetensorsFile& file, const Metadata& expected);

/// An id that distinguishes trainings with the same names and shapes: a checksum of model,
/// optimizer and metadata after the first step, which depend on seeds, data and options.
std::int64_t training_id(const TrainingTask& task, const Metadata& metadata);

/// The metadata that identifies `best`; none for id 0.
Metadata with_training_id(Metadata metadata, std::int64_t id);

/// StateError unless `file` is a model that this training wrote. No check for id 0.
void check_is_ours(const SafetensorsFile& file, std::int64_t id, const TrainerOptions& options);

/// ValueError if two of best, last and log are the same file, Error if one cannot be written.
void check_files(const TrainerOptions& options);

/// The history in the log's format.
std::string log_text(const std::vector<Progress>& history, const std::filesystem::path& log);

}  // namespace fovea::optim::detail
