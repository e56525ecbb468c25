// What a training step costs before it is run: operations and bytes moved, parameters, optimiser
// state, activations that wait for the backward, and the most memory that is ever taken at once.
//
//   Rehearsal rehearsal;               // core/rehearsal.h: sizes are real, numbers are not
//   Model model(options, rng);
//   optim::AdamW adam(model.parameters());
//   const CostLedger cost = forecast_step(rehearsal, model,
//       {.loss = [&] { return loss(model, batch); },
//        .update = [&] { adam.step(); },
//        .optimizer_state = [&] { return adam.state(); }});
//   std::cout << cost.table();
//
// Bytes are those of tensors, as memory_stats() counts them. What the process takes beside them
// (the pool's rounding, at most 6.25 %, and its free blocks; packed matrices; texts and
// vocabularies) is not in them.
#pragma once

#include <fovea/core/rehearsal.h>
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

/// One module of the model, its own children counted apart.
struct ModuleCost {
  std::string module = {};       ///< its path below the model; "" for the model itself
  std::int64_t parameters = 0;   ///< how many numbers
  std::int64_t saved_bytes = 0;  ///< alive after the forward because of it
  Work forward = {}, backward = {};
};

struct CostLedger {
  std::vector<ModuleCost> modules = {};  ///< in the order of the state_dict; the sums are below
  std::int64_t parameters = 0;           ///< how many numbers
  std::int64_t parameter_bytes = 0;      ///< of parameters and buffers
  std::int64_t gradient_bytes = 0;       ///< of the parameters
  std::int64_t optimizer_bytes = 0;      ///< what the optimiser remembers
  std::int64_t saved_bytes = 0;          ///< what the forward leaves: the batch, what it will need
  std::int64_t forward_peak_bytes = 0;   ///< the most that is alive at once, in the forward,
  std::int64_t backward_peak_bytes = 0;  ///< in the backward,
  std::int64_t update_peak_bytes = 0;    ///< and in the update
  std::int64_t validation_peak_bytes = 0;  ///< between steps, without a graph; 0: not asked for
  Work forward = {}, backward = {}, update = {};  ///< of one step's phases
  std::int64_t unknown_ops = 0;  ///< ops of a step whose work is not in these: they have no entry
  double rehearsal_seconds = 0;

  std::int64_t step_peak_bytes() const;  ///< without the validation
  std::int64_t peak_bytes() const;
  const char* peak_phase() const;  ///< "forward", "backward", "update" or "validation"

  /// For people: a row for each module, those below `depth` names joined ("encoder.layers.0" is
  /// deep 3), and the sums.
  std::string table(int depth = 3) const;
};

/// What is repeated in a training.
struct TrainingStep {
  /// One number, of a batch that it makes.
  std::function<Tensor()> loss = {};
  /// Clipping and the optimiser's step; empty: none.
  std::function<void()> update = {};
  /// What is kept between steps; empty: nothing.
  std::function<NamedTensors()> optimizer_state = {};
  /// What happens after a step, under NoGrad; empty: nothing.
  std::function<void()> validation = {};
};

/// Rehearses two steps: gives the work of the first, and the memory of the second, since the first
/// may still fill caches. Gradients are forgotten before a step, as optim::train() does, and at the
/// end, also by an exception. Model and optimiser should have been made in the rehearsal. Real ones
/// are counted too: their numbers stay, but an optimiser's count of steps and generators move on,
/// so give fresh ones. ValueError without a loss.
CostLedger forecast_step(Rehearsal& rehearsal, Module& model, const TrainingStep& step);

/// "842 kB", "1.25 GB": powers of 1000, three figures.
std::string readable_bytes(std::int64_t bytes);
/// The same of anything: "1.25 GFLOP" for the unit "FLOP".
std::string readable(double value, std::string_view unit);

/// Reads "2.5GB", "800 MB", "1GiB" (powers of 1024), "4096". ValueError where it says something
/// else, or nothing above 0.
std::int64_t parse_bytes(std::string_view text);

}  // namespace fovea::nn::inspect
