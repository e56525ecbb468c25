#include <fovea/core/ops/matmul.h>
#include <fovea/nn/init.h>
#include <fovea/nn/linear.h>

#include <cmath>

namespace fovea::nn {

Linear::Linear(LinearOptions options, Rng& rng)
    : weight(empty({options.out_features, options.in_features})) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(options.in_features));
  init::uniform(weight, -bound, bound, rng);
  weight.set_requires_grad();
  if (!options.bias) return;
  bias = empty({options.out_features});
  init::uniform(bias, -bound, bound, rng);
  bias.set_requires_grad();
}

Tensor Linear::operator()(const Tensor& x) const {
  const Scope in(*this);
  return linear(x, weight, bias);
}

void Linear::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

}  // namespace fovea::nn
