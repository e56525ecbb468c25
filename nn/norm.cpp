#include <fovea/core/ops/norm.h>
#include <fovea/nn/norm.h>

namespace fovea::nn {

LayerNorm::LayerNorm(std::int64_t width, double epsilon)
    : weight(ones({width})), bias(zeros({width})), eps(epsilon) {
  weight.set_requires_grad();
  bias.set_requires_grad();
}

Tensor LayerNorm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return layer_norm(x, weight, bias, eps);
}

void LayerNorm::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

}  // namespace fovea::nn
