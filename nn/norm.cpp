#include <fovea/core/ops/norm.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/norm.h>

namespace fovea::nn {
namespace {

// A weight or bias of `norm`, filled with `value`.
Tensor parameter(const char* norm, std::int64_t width, double value) {
  check_sizes(norm, {{"width", width}});
  return full({width}, value).set_requires_grad();
}

}  // namespace

LayerNorm::LayerNorm(std::int64_t width, double epsilon)
    : weight(parameter("LayerNorm", width, 1)),
      bias(parameter("LayerNorm", width, 0)),
      eps(epsilon) {}

Tensor LayerNorm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return layer_norm(x, weight, bias, eps);
}

void LayerNorm::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

RMSNorm::RMSNorm(std::int64_t width, double epsilon)
    : weight(parameter("RMSNorm", width, 1)), eps(epsilon) {}

Tensor RMSNorm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return rms_norm(x, weight, eps);
}

void RMSNorm::visit(Visitor& v) { v("weight", weight); }

Norm::Norm(const NormOptions& o) : weight(parameter("Norm", o.width, 1)), kind(o.kind), eps(o.eps) {
  if (o.bias && kind == NormKind::layer) bias = parameter("Norm", o.width, 0);
}

Tensor Norm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return kind == NormKind::rms ? rms_norm(x, weight, eps) : layer_norm(x, weight, bias, eps);
}

void Norm::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

}  // namespace fovea::nn
