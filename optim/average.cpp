#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/optim/average.h>

#include <algorithm>

namespace fovea::optim {
WeightAverage::WeightAverage(const NamedTensors& model, double decay)
    : model_(distinct("WeightAverage", model)), decay_(decay) {
  if (!(decay >= 0 && decay < 1))
    value_error("WeightAverage", "decay = {}: must be in [0, 1)", decay);
  const NoGrad guard;
  for (const auto& [name, tensor] : model_) average_.emplace_back(name, tensor.detach().clone());
}

void WeightAverage::update(std::int64_t t) {
  if (t < 0) value_error("WeightAverage", "t = {}: must be at least 0", t);
  const NoGrad guard;
  const auto n = static_cast<double>(t);
  const double decay = std::min(decay_, (n + 1) / (n + 10));
  for (std::size_t i = 0; i < model_.size(); ++i) {
    const Tensor w = model_[i].second.detach();
    Tensor& a = average_[i].second;
    Tensor unused;
    if (is_floating(w.dtype())) {
      // a - (1 - d') (a - w): an SGD step on (a - w)^2 / 2 with learning rate 1 - d'.
      sgd_step(a, a - w, unused, {.lr = 1 - decay}, false);
    } else {
      a.copy_from(w);
    }
  }
}

void WeightAverage::swap() {
  const NoGrad guard;
  for (std::size_t i = 0; i < model_.size(); ++i) {
    Tensor w = model_[i].second.detach();
    const Tensor before = w.clone();
    w.copy_from(average_[i].second);
    average_[i].second.copy_from(before);
  }
}

}  // namespace fovea::optim
