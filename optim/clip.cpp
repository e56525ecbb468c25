#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/optim/clip.h>

#include <algorithm>
#include <cmath>

namespace fovea::optim {
namespace {

// Replaces every gradient g by f(g). A new tensor, because the old one may have other owners.
template <class F>
void replace_gradients(const NamedTensors& parameters, const F& f) {
  for (auto [name, parameter] : parameters)
    if (const Tensor g = parameter.grad(); g.defined()) parameter.set_grad(f(g));
}

// The largest |g| of all gradients; NaN if one of them is.
double largest_gradient(const NamedTensors& parameters) {
  double top = 0;
  for (const auto& [name, parameter] : parameters) {
    const Tensor g = parameter.grad();
    if (!g.defined() || g.numel() == 0) continue;
    const double size = max(abs(g)).item<double>();
    if (std::isnan(size)) return size;
    top = std::max(top, size);
  }
  return top;
}

// For f64 gradients whose squares overflow or underflow: top sqrt(sum (g / top)^2).
double norm_by_largest(const NamedTensors& parameters) {
  const double top = largest_gradient(parameters);
  if (!(top > 0) || !std::isfinite(top)) return top;
  double squares = 0;
  for (const auto& [name, parameter] : parameters)
    if (const Tensor g = parameter.grad(); g.defined()) squares += sum_of_squares(g / top);
  return top * std::sqrt(squares);
}

// g factor. A factor that is subnormal in f32 is applied in two steps.
Tensor scaled(const Tensor& g, double factor) {
  return factor < 0x1p-100 ? (g * 0x1p-64) * (factor * 0x1p64) : g * factor;
}

}  // namespace

double clip_grad_norm(const NamedTensors& parameters, double max_norm, ClipOptions options) {
  if (!(max_norm > 0)) value_error("clip_grad_norm", "max_norm = {}: must be above 0", max_norm);
  const NoGrad guard;
  const NamedTensors once = distinct("clip_grad_norm", parameters);
  double squares = 0;
  bool exact = true;  // no f64 gradient: squares of f32 values cannot over- or underflow in f64
  for (const auto& [name, parameter] : once) {
    const Tensor g = parameter.grad();
    if (!g.defined()) continue;
    exact &= g.dtype() == DType::f32;
    const double part = sum_of_squares(g);
    if (options.error_if_nonfinite && !std::isfinite(part) &&
        !std::isfinite(largest_gradient({{name, parameter}})))
      raise<NonFiniteError>("clip_grad_norm", "gradient norm of '{}' = {}: must be finite", name,
                            std::sqrt(part));
    squares += part;
  }
  // In a dry run all sums are 0: use the common path.
  const bool in_range = exact || DryRun::on() || (squares > 0x1p-900 && std::isfinite(squares));
  const double norm = in_range ? std::sqrt(squares) : norm_by_largest(once);
  const double factor = max_norm / (norm + 1e-6);
  if (std::isfinite(norm) && factor < 1)
    replace_gradients(once, [=](const Tensor& g) { return scaled(g, factor); });
  return norm;
}

void clip_grad_value(const NamedTensors& parameters, double limit) {
  if (!(limit >= 0)) value_error("clip_grad_value", "limit = {}: must not be negative", limit);
  const NoGrad guard;
  replace_gradients(distinct("clip_grad_value", parameters),
                    [=](const Tensor& g) { return clamp(g, -limit, limit); });
}

}  // namespace fovea::optim
