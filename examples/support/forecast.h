// Before hours are spent: what a training will take, and whether that is there.
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

/// What could be had now without swapping, in bytes: MemAvailable of /proc/meminfo, or less where
/// the control group at /sys/fs/cgroup (version 2, as a container sees its own) allows less: its
/// memory.max - memory.current, and of that the files that it could forget. The largest number
/// where the system does not tell.
std::int64_t available_memory();

/// How many bytes of tensors fit into that: an eighth more is for the pool's rounding and free
/// blocks, 64 MB are for the rest: the program, packed matrices, texts, vocabularies.
std::int64_t room_for_tensors(std::int64_t available);

/// A batch of a training, as TrainingTask::loss is asked for it.
struct BatchPlace {
  std::int64_t epoch = 0, batch = 0;
};

/// Those that may take most memory: of all batches the ones with the most sequences, the most
/// tokens and the most padded places of either side and of both, a token of one side counting once,
/// four or sixteen times as much as one of the other. Epochs are looked at, the first always, until
/// some millions of sequences have been.
std::vector<BatchPlace> largest_batches(const std::vector<fovea::nn::data::PairLength>& lengths,
                                        const fovea::nn::data::BucketOptions& options,
                                        std::int64_t epochs);

/// What the dearest of those batches costs, and a validation. Model, optimiser and generators of
/// the task must have been made in the rehearsal. Gradients are clipped, as they are in the worst
/// case. validate: a validation, or the part of it that takes most.
fovea::nn::inspect::CostLedger forecast(fovea::Rehearsal& rehearsal, fovea::nn::Module& model,
                                        const fovea::optim::TrainingTask& task,
                                        const fovea::optim::TrainerOptions& trainer,
                                        const std::vector<BatchPlace>& places,
                                        const std::function<void()>& validate);

/// What `forecast` gives, with rehearsal_seconds of all that it did: the epochs' batches looked
/// through, models made, every step rehearsed.
fovea::nn::inspect::CostLedger timed(
    const std::function<fovea::nn::inspect::CostLedger()>& forecast);

/// Something that the user may ask for instead, and what that takes.
struct Choice {
  std::string option;  ///< "--batch 16"
  std::int64_t peak_bytes = 0;
};

/// `option` halved until the training fits, or to 1: the first of these, or the last with what even
/// that takes. Nothing where there is nothing to halve.
std::vector<Choice> halved(const std::string& option, std::int64_t value, std::int64_t limit,
                           const std::function<std::int64_t(std::int64_t)>& peak_of);

/// ValueError that tells what is needed, for what, what is there, and what could be done.
[[noreturn]] void refuse_memory(const fovea::nn::inspect::CostLedger& cost, std::int64_t limit,
                                bool limit_given, const std::vector<Choice>& choices);

/// The whole check of a program that is about to train. Prints the ledger for --dry-run and then
/// gives false: there is nothing more to do. `choices` is asked where the training does not fit.
bool may_train(const fovea::nn::inspect::CostLedger& cost, const MemoryOptions& options,
               const std::function<std::vector<Choice>(std::int64_t limit)>& choices);

}  // namespace support
