#include <fovea/core/ops/dropout.h>
#include <fovea/nn/dropout.h>

namespace fovea::nn {

Tensor Dropout::operator()(const Tensor& x) const {
  const Scope in(*this);
  return dropout(x, p_, *rng_, training());
}

Tensor Dropout::of_relu(const Tensor& x) const {
  const Scope in(*this);
  return relu_dropout(x, p_, *rng_, training());
}

}  // namespace fovea::nn
