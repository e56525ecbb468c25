#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>

namespace fovea::detail {

Tensor kept_scores(const Tensor& q, const Tensor& k, const Tensor& kept) {
  if (!kept.defined() || (all_finite(q) && all_finite(k))) return matmul(q, transpose(k, -1, -2));
  const Tensor pairs = unsqueeze(kept, -1);                    // (..., T, S, 1)
  const Tensor queries = where(pairs, unsqueeze(q, -2), 0.0);  // (..., T, S, D)
  const Tensor keys = where(pairs, unsqueeze(k, -3), 0.0);
  return sum(queries * keys, -1);
}

// y = x      dx = dy, or none if dy = 0 everywhere
Tensor skip_zero_gradient(const Tensor& x) {
  check_defined("skip_zero_gradient", "x", x);
  return record<"skip_zero_gradient">(without_graph(x).clone(), {x},
                                      [](const Tensor& dy, NeedsGrad) {
                                        if (!grad_enabled() && all_zero(dy)) return Grads(1);
                                        return Grads(dy);
                                      });
}

Tensor kept_mixture(const Tensor& weights, const Tensor& v, const Tensor& kept) {
  const Tensor y = matmul(weights, v);
  if (!kept.defined() || all_finite(y)) return y;
  const Tensor values = where(unsqueeze(kept, -1), unsqueeze(v, -3), 0.0);  // (..., T, S, E)
  return sum(unsqueeze(where(kept, weights, 0.0), -1) * values, -2);
}

}  // namespace fovea::detail
