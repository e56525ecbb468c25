#include <fovea/core/ops/norm.h>
#include <fovea/nn/norm.h>

namespace fovea::nn {
namespace {

Tensor parameter(Tensor x) { return x.set_requires_grad(); }

}  // namespace

LayerNorm::LayerNorm(std::int64_t width, double epsilon)
    : weight(parameter(ones({width}))), bias(parameter(zeros({width}))), eps(epsilon) {}

Tensor LayerNorm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return layer_norm(x, weight, bias, eps);
}

void LayerNorm::visit(Visitor& v) {
  v("weight", weight);
  v("bias", bias);
}

RMSNorm::RMSNorm(std::int64_t width, double epsilon)
    : weight(parameter(ones({width}))), eps(epsilon) {}

Tensor RMSNorm::operator()(const Tensor& x) const {
  const Scope in(*this);
  return rms_norm(x, weight, eps);
}

void RMSNorm::visit(Visitor& v) { v("weight", weight); }

Norm::Norm(const NormOptions& o) : weight(parameter(ones({o.width}))), kind(o.kind), eps(o.eps) {
  if (o.bias && kind == NormKind::layer) bias = parameter(zeros({o.width}));
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
