// A moving average of a model's numbers: it often generalises better than where training stands.
#pragma once

#include <fovea/core/state.h>

#include <cstdint>

namespace fovea::optim {

/// a = d' a + (1 - d') w after each step, d' = min(d, (t + 1) / (t + 10)) for step t = 0, 1, ...,
/// so that the numbers of the beginning are soon forgotten. Integers are copied, not averaged.
/// Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992; as a moving
/// average Kingma, Ba: Adam, ICLR 2015, section 7.2.
class WeightAverage {
 public:
  /// Starts as a copy of the model; tied tensors are averaged once, under their first name.
  /// ValueError unless 0 <= d < 1, and for a name that is listed twice.
  WeightAverage(const NamedTensors& model, double decay);

  /// After step t, where the model holds its own weights. ValueError for t < 0.
  void update(std::int64_t t);

  /// The model and its average change places: to be measured or saved, and back.
  void swap();

  /// The average itself under the model's names; load_into() restores it.
  const NamedTensors& state() const { return average_; }

 private:
  NamedTensors model_, average_;
  double decay_;
};

}  // namespace fovea::optim
