// Memory forecast of a training, and a check that the memory is available.
#pragma once

#include <fovea/examples/support/memory_options.h>
#include <fovea/nn/data/batching.h>
#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace support {

/// Memory available without swapping, in bytes: MemAvailable of /proc/meminfo, or the limit of the
/// control group at /sys/fs/cgroup if that is smaller (version 2, as visible in a container):
/// memory.max - memory.current + inactive file cache. The largest int64 if neither is known.
std::int64_t available_memory();

/// Bytes of tensors that fit into `available`: one eighth more is reserved for the pool's rounding
/// and free blocks, and 64 MB for the program, packed matrices, texts and vocabularies.
std::int64_t bytes_for_tensors(std::int64_t available);

/// Arguments of TrainingTask::loss.
struct BatchIndex {
  std::int64_t epoch = 0, batch = 0;
};

/// Candidates for the batch that needs most memory: the batches with the most sequences, the most
/// tokens, and the most padded positions of source, target and both, where a token of one side
/// counts once, four or sixteen times as much as one of the other. At least the first epoch is
/// examined, and more epochs up to a total of some millions of sequences.
std::vector<BatchIndex> largest_batches(const std::vector<fovea::nn::data::PairLength>& lengths,
                                        const fovea::nn::data::BucketOptions& options,
                                        std::int64_t epochs);

/// Cost of the most expensive of these batches, and of a validation. Model, optimizer and
/// generators of the task must have been created in the dry run. Gradients are clipped, the worst
/// case. validate: a validation, or its part that needs most memory.
fovea::nn::inspect::CostLedger forecast(fovea::DryRun& dry_run, fovea::nn::Module& model,
                                        const fovea::optim::TrainingTask& task,
                                        const fovea::optim::TrainerOptions& trainer,
                                        const std::vector<BatchIndex>& batches,
                                        const std::function<void()>& validate);

/// The result of `forecast`, with dry_run_seconds set to its total time: examining the epochs'
/// batches, creating models, and the dry run of every step.
fovea::nn::inspect::CostLedger timed(
    const std::function<fovea::nn::inspect::CostLedger()>& forecast);

/// An alternative setting, and the memory that it needs.
struct Choice {
  std::string option;  ///< "--batch 16"
  std::int64_t peak_bytes = 0;
};

/// `option` halved until the training fits, but not below 1: the first value that fits, or else the
/// last one. Empty for a value of 1 or less.
std::vector<Choice> halved(const std::string& option, std::int64_t value, std::int64_t limit,
                           const std::function<std::int64_t(std::int64_t)>& peak_of);

/// ValueError with the required memory, its parts, the available memory and the alternatives.
[[noreturn]] void refuse_memory(const fovea::nn::inspect::CostLedger& cost, std::int64_t limit,
                                bool limit_given, const std::vector<Choice>& choices);

/// The complete check before a training. For --dry-run it prints the ledger and returns false: the
/// program should end. `choices` is called if the training does not fit.
bool may_train(const fovea::nn::inspect::CostLedger& cost, const MemoryOptions& options,
               const std::function<std::vector<Choice>(std::int64_t limit)>& choices);

}  // namespace support
