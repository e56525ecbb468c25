// Moving average of a model's weights. It often generalizes better than the last weights.
#pragma once

#include <fovea/core/state.h>

#include <cstdint>

namespace fovea::optim {

/// a = d' a + (1 - d') w after each step, d' = min(d, (t + 1) / (t + 10)) for step t = 0, 1, ...,
/// so that the initial weights soon stop counting. Integers are copied, not averaged.
/// Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992; as a moving
/// average Kingma, Ba: Adam, ICLR 2015, section 7.2.
class WeightAverage {
 public:
  /// The initial value is a copy of the model; tied tensors are averaged once, under their first
  /// name. ValueError unless 0 <= d < 1, and for a name that is listed twice.
  WeightAverage(const NamedTensors& model, double decay);

  /// Call after step t, while the model holds its own weights (not swapped). ValueError for t < 0.
  void update(std::int64_t t);

  /// Exchanges the values of the model and of the average: call once before validating or saving
  /// the average, and once more afterwards.
  void swap();

  /// The tensors of the average (not copies) under the model's names; load_into() restores them.
  const NamedTensors& state() const { return average_; }

 private:
  NamedTensors model_, average_;
  double decay_;
};

}  // namespace fovea::optim
