#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/optim/clip.h>

#include <algorithm>
#include <cmath>

namespace fovea::optim {
namespace {

// Gives every gradient g the value f(g). A new tensor: somebody else may hold the old one.
template <class F>
void replace_gradients(const NamedTensors& parameters, const F& f) {
  for (auto [name, parameter] : parameters)
    if (const Tensor g = parameter.grad(); g.defined()) parameter.set_grad(f(g));
}

}  // namespace

double clip_grad_norm(const NamedTensors& parameters, double max_norm, ClipOptions options) {
  if (!(max_norm > 0)) value_error("clip_grad_norm", "max_norm = {}: must be above 0", max_norm);
  check_defined("clip_grad_norm", parameters);
  const NoGrad guard;
  double squares = 0;
  for (const auto& [name, parameter] : parameters) {
    const Tensor g = parameter.grad();
    if (!g.defined()) continue;
    const double part = sum_of_squares(g);
    if (options.error_if_nonfinite && !std::isfinite(part))
      raise<NonFiniteError>("clip_grad_norm", "the gradient of '{}' has the norm {}", name,
                            std::sqrt(part));
    squares += part;
  }
  const double norm = std::sqrt(squares);
  const double factor = max_norm / (norm + 1e-6);
  if (std::isfinite(norm) && factor < 1)
    replace_gradients(parameters, [=](const Tensor& g) { return g * factor; });
  return norm;
}

void clip_grad_value(const NamedTensors& parameters, double limit) {
  if (!(limit >= 0)) value_error("clip_grad_value", "limit = {}: must not be negative", limit);
  check_defined("clip_grad_value", parameters);
  const NoGrad guard;
  replace_gradients(parameters, [=](const Tensor& g) { return clamp(g, -limit, limit); });
}

}  // namespace fovea::optim
