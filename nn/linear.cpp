#include <fovea/core/ops/matmul.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

Linear::Linear(LinearOptions options, Rng& rng) {
  check_sizes("Linear",
              {{"in_features", options.in_features}, {"out_features", options.out_features}});
  const std::int64_t in = options.in_features, out = options.out_features;
  weight = init::uniform_parameter({out, in}, in, rng);
  if (options.bias) bias = init::uniform_parameter({out}, in, rng);
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
