#include <fovea/core/autograd.h>
#include <fovea/core/kernels/dropout.h>
#include <fovea/core/ops/dropout.h>

namespace fovea {
namespace {

// y_i = keep_i x_i / (1 - p)       dx_i = keep_i dy_i / (1 - p)
// keep_i is a function of `origin` and i. The op is linear and its own backward, at the same
// origin; so it is its own slow twin too: under create_graph the backward records itself.
Tensor dropout_at(const Tensor& x, double p, const kernels::PhiloxOrigin& origin) {
  const Tensor from = x.contiguous();
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "dropout", [&]<class T>() {
    kernels::dropout(from.data<T>(), x.numel(), p, origin, y.mutable_data<T>());
  });
  return record<"dropout">(y, {from}, [p, origin](const Tensor& dy, Wanted) -> Grads {
    return dropout_at(dy, p, origin);
  });
}

}  // namespace

Tensor dropout(const Tensor& x, double p, Rng& rng, bool training) {
  if (!(p >= 0 && p <= 1)) value_error("dropout", "p = {}: a probability is between 0 and 1", p);
  if (!training || p == 0) return x;
  return dropout_at(x, p, rng.reserve(x.numel()));
}

}  // namespace fovea
