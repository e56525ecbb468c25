// Cost forecast of a training step by a dry run: operations and bytes moved, parameters, optimizer
// state, activations saved for the backward, and peak memory.
//
//   DryRun dry_run;               // core/dry_run.h: tensors have shapes, but no data
//   Model model(options, rng);
//   optim::AdamW adam(model.parameters());
//   const CostLedger cost = forecast_step(dry_run, model,
//       {.loss = [&] { return loss(model, batch); },
//        .update = [&] { adam.step(); },
//        .optimizer_state = [&] { return adam.state(); }});
//   std::cout << cost.table();
//
// Bytes are those of tensors, as memory_stats() counts them. Other memory of the process (the
// rounding of the memory pool, at most 6.25 %, and its free blocks; packed matrices; texts and
// vocabularies) is not included.
#pragma once

#include <fovea/core/dry_run.h>
#include <fovea/nn/module.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::inspect {

/// Floating-point operations and bytes moved, as nn/inspect/flops.h counts them.
struct Work {
  double flops = 0, bytes = 0;

  Work& operator+=(const Work& more);
};

/// One module of the model, without its children.
struct ModuleCost {
  std::string module = {};       ///< its path below the model; "" for the model itself
  std::int64_t parameters = 0;   ///< number of elements
  std::int64_t saved_bytes = 0;  ///< allocated in its forward and still alive after it
  Work forward = {}, backward = {};
};

struct CostLedger {
  std::vector<ModuleCost> modules = {};    ///< in the order of the state_dict; totals are below
  std::int64_t parameters = 0;             ///< number of elements
  std::int64_t parameter_bytes = 0;        ///< of parameters and buffers
  std::int64_t gradient_bytes = 0;         ///< of the parameters
  std::int64_t optimizer_bytes = 0;        ///< optimizer state
  std::int64_t saved_bytes = 0;            ///< alive after the forward: the batch, saved tensors
  std::int64_t forward_peak_bytes = 0;     ///< peak memory of the forward,
  std::int64_t backward_peak_bytes = 0;    ///< of the backward,
  std::int64_t update_peak_bytes = 0;      ///< and of the update
  std::int64_t validation_peak_bytes = 0;  ///< of TrainingStep::validation; 0: none given
  Work forward = {}, backward = {}, update = {};  ///< of one step
  std::int64_t unknown_ops = 0;  ///< ops of a step without a cost entry, not included in the work
  double dry_run_seconds = 0;

  std::int64_t step_peak_bytes() const;  ///< without the validation
  std::int64_t peak_bytes() const;
  const char* peak_phase() const;  ///< "forward", "backward", "update" or "validation"

  /// As text: a row for each module, with modules deeper than `depth` names merged into their
  /// ancestor ("encoder.layers.0" has depth 3), and the totals.
  std::string table(int depth = 3) const;
};

/// One step of a training loop.
struct TrainingStep {
  /// Creates a batch and returns its loss, a scalar.
  std::function<Tensor()> loss = {};
  /// Gradient clipping and the optimizer step; empty: none.
  std::function<void()> update = {};
  /// The tensors that the optimizer holds between steps; empty: none.
  std::function<NamedTensors()> optimizer_state = {};
  /// The validation after a step, run under NoGrad; empty: none.
  std::function<void()> validation = {};
};

/// Dry-runs two steps: returns the work of the first, and the memory of the second, since the first
/// may still fill caches. Gradients are set to none before each step, as optim::train() does, and
/// at the end, also after an exception. Create the model and the optimizer in the dry run. Real
/// ones work too: their values do not change, but the optimizer's step count and the random
/// generators advance, so do not use them afterwards. ValueError without a loss.
CostLedger forecast_step(DryRun& dry_run, Module& model, const TrainingStep& step);

/// "842 kB", "1.25 GB": powers of 1000, three figures.
std::string readable_bytes(std::int64_t bytes);
/// The same with any unit: "1.25 GFLOP" for the unit "FLOP".
std::string readable(double value, std::string_view unit);

/// Parses "2.5GB", "800 MB", "1GiB" (powers of 1024), "4096". ValueError for other texts and for
/// values that are not above 0.
std::int64_t parse_bytes(std::string_view text);

}  // namespace fovea::nn::inspect
