#include <fovea/core/autograd.h>
#include <fovea/core/kernels/dropout.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>

namespace fovea {
namespace {

// y_i = keep_i x_i / (1 - p)       dx_i = keep_i dy_i / (1 - p)
// keep_i is a function of `origin` and i. Linear in x and its own backward, so under create_graph
// the backward records itself.
Tensor dropout_at(const Tensor& x, double p, const kernels::PhiloxOrigin& origin) {
  const Tensor from = x.contiguous();
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "dropout", [&]<class T>() {
    kernels::dropout(from.data<T>(), x.numel(), p, origin, y.mutable_data<T>());
  });
  return record<"dropout">(y, {from}, [p, origin](const Tensor& dy, NeedsGrad) -> Grads {
    return dropout_at(dy, p, origin);
  });
}

void check_probability(std::string_view op, double p) {
  if (!(p >= 0 && p <= 1)) value_error(op, "p = {}: must be in [0, 1]", p);
}

// dx_i = dy_i / (1 - p) where y_i > 0, else 0
Tensor relu_dropout_gradient(const Tensor& dy, const Tensor& y, double p) {
  if (grad_enabled()) return where(le(y, 0.0), 0.0, dy * (1 / (1 - p)));
  Tensor dx = empty(y.shape(), y.dtype());
  dispatch_float(y.dtype(), "relu_dropout", [&]<class T>() {
    kernels::relu_dropout_backward(y.data<T>(), dy.data<T>(), y.numel(), p, dx.mutable_data<T>());
  });
  return dx;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, Rng& rng, bool training) {
  check_defined("dropout", "x", x);
  check_probability("dropout", p);
  if (!training || p == 0) return x;
  return dropout_at(x, p, rng.reserve(x.numel()));
}

// y_i = keep_i max(x_i, 0) / (1 - p)       saves y
Tensor relu_dropout(const Tensor& x, double p, Rng& rng, bool training) {
  check_defined("relu_dropout", "x", x);
  check_probability("relu_dropout", p);
  if (!training || p == 0) return relu(x);
  if (p == 1) return dropout(relu(x), p, rng);  // 1 / (1 - p) is infinite
  const kernels::PhiloxOrigin origin = rng.reserve(x.numel());
  const Tensor from = x.contiguous();
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "relu_dropout", [&]<class T>() {
    kernels::relu_dropout(from.data<T>(), x.numel(), p, origin, y.mutable_data<T>());
  });
  return record<"relu_dropout">(y, {from},
                                [p](const Tensor& dy, const Tensor& out, NeedsGrad) -> Grads {
                                  return relu_dropout_gradient(dy, out, p);
                                });
}

}  // namespace fovea
