#include <fovea/core/autograd.h>
#include <fovea/core/kernels/linear_attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>

#include <algorithm>
#include <limits>

namespace fovea {
namespace {

void check(const Tensor& q, const Tensor& k, const Tensor& v) {
  check_defined("linear_attention", "q", q, "k", k, "v", v);
  if (q.rank() != 3 || k.rank() != 3 || v.rank() != 3 || q.dim(0) != k.dim(0) ||
      k.dim(0) != v.dim(0) || k.dim(1) != v.dim(1) || q.dim(2) != k.dim(2))
    shape_error("linear_attention", "q {}, k {}, v {}: must be (B, T, D), (B, S, D), (B, S, E)",
                q.shape().str(), k.shape().str(), v.shape().str());
  if (q.dtype() != k.dtype() || k.dtype() != v.dtype())
    dtype_error("linear_attention", "q {}, k {}, v {}: dtypes must be equal", name_of(q.dtype()),
                name_of(k.dtype()), name_of(v.dtype()));
}

// The number of keys, from the first on, that each query attends: i64 (B or 1, T).
Tensor ends_of(const Mask& mask, std::int64_t B, std::int64_t T, std::int64_t S) {
  const MaskPlan plan = mask.plan({B, 1, T, S});
  if (!plan.tables.empty())
    value_error("linear_attention",
                "mask: must be lengths, causal, prefix_lm or & of these: running sums cannot skip "
                "single keys (Mask::keep or drop)");
  Tensor ends = full({plan.per_row ? B : 1, T}, static_cast<double>(S), DType::i64);
  if (plan.begin.empty() && plan.ids.empty()) return ends;
  std::int64_t last = 0, *end = ends.mutable_data<std::int64_t>();
  bool fits = plan.ids.empty();
  for (std::size_t i = 0; fits && i < plan.end.size(); ++i) {
    if (static_cast<std::int64_t>(i) % T == 0) last = 0;
    const bool nothing = plan.begin[i] >= plan.end[i];
    end[i] = nothing ? 0 : plan.end[i];
    fits = nothing || (plan.begin[i] == 0 && end[i] >= last);
    last = std::max(last, end[i]);
  }
  if (!fits)
    value_error("linear_attention",
                "mask: must be lengths, causal, prefix_lm or & of these: running sums cannot "
                "remove keys (Mask::window with a left bound, or Mask::documents)");
  return ends;
}

kernels::Reach reach_of(const Tensor& ends) {
  return {ends.data<std::int64_t>(), ends.dim(0) > 1 ? ends.dim(1) : 0};
}

// ends: i64 (B or 1, T), nondecreasing in T, except for 0
Tensor prefix_product(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& ends);
Tensor suffix_product(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& ends);

// y_t = sum_{s < end_t} (a_t . b_s) c_s        a: (B, T, D)  b: (B, S, D)  c: (B, S, E)
// The gradients have the same form:
//   da_t = sum_{s < end_t} (dy_t . c_s) b_s      db_s = sum_{end_t > s} (c_s . dy_t) a_t
//   dc_s = sum_{end_t > s} (b_s . a_t) dy_t
Tensor prefix_product(const Tensor& a_, const Tensor& b_, const Tensor& c_, const Tensor& ends) {
  const Tensor a = a_.contiguous(), b = b_.contiguous(), c = c_.contiguous();
  Tensor y = empty({a.dim(0), a.dim(1), c.dim(2)}, a.dtype());  // (B, T, E)
  dispatch_float(a.dtype(), "linear_attention", [&]<class T>() {
    kernels::prefix_product({a.dim(0), a.dim(1), b.dim(1), a.dim(2), c.dim(2)}, reach_of(ends),
                            a.data<T>(), b.data<T>(), c.data<T>(), y.mutable_data<T>());
  });
  return record<"prefix_product">(std::move(y), {a, b, c},
                                  [a = keep(a), b = keep(b), c = keep(c), ends](
                                      const Tensor& dy, NeedsGrad needs_grad) -> Grads {
                                    Grads grads(3);
                                    if (needs_grad[0]) grads[0] = prefix_product(dy, c, b, ends);
                                    if (needs_grad[1]) grads[1] = suffix_product(c, dy, a, ends);
                                    if (needs_grad[2]) grads[2] = suffix_product(b, a, dy, ends);
                                    return grads;
                                  });
}

// y_s = sum_{end_t > s} (a_s . b_t) c_t        a: (B, S, D)  b: (B, T, D)  c: (B, T, E)
//   da_s = sum_{end_t > s} (dy_s . c_t) b_t      db_t = sum_{s < end_t} (c_t . dy_s) a_s
//   dc_t = sum_{s < end_t} (b_t . a_s) dy_s
Tensor suffix_product(const Tensor& a_, const Tensor& b_, const Tensor& c_, const Tensor& ends) {
  const Tensor a = a_.contiguous(), b = b_.contiguous(), c = c_.contiguous();
  Tensor y = empty({a.dim(0), a.dim(1), c.dim(2)}, a.dtype());  // (B, S, E)
  dispatch_float(a.dtype(), "linear_attention", [&]<class T>() {
    kernels::suffix_product({a.dim(0), b.dim(1), a.dim(1), a.dim(2), c.dim(2)}, reach_of(ends),
                            a.data<T>(), b.data<T>(), c.data<T>(), y.mutable_data<T>());
  });
  return record<"suffix_product">(std::move(y), {a, b, c},
                                  [a = keep(a), b = keep(b), c = keep(c), ends](
                                      const Tensor& dy, NeedsGrad needs_grad) -> Grads {
                                    Grads grads(3);
                                    if (needs_grad[0]) grads[0] = suffix_product(dy, c, b, ends);
                                    if (needs_grad[1]) grads[1] = prefix_product(c, dy, a, ends);
                                    if (needs_grad[2]) grads[2] = prefix_product(b, a, dy, ends);
                                    return grads;
                                  });
}

// x / total, and 0 with gradient 0 where the total is 0.
Tensor normalized(const Tensor& x, const Tensor& total) {
  const Tensor nothing = eq(total, 0.0);
  return where(nothing, 0.0, x / where(nothing, 1.0, total));
}

}  // namespace

Tensor elu_feature(const Tensor& x) {
  check_defined("elu_feature", "x", x);
  const Tensor below = exp(clamp(x, -std::numeric_limits<double>::infinity(), 0.0));
  return where(gt(x, 0.0), x + 1.0, below);
}

Tensor linear_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask) {
  check(q, k, v);
  const std::int64_t B = q.dim(0), T = q.dim(1), S = k.dim(1), E = v.dim(2);
  const Tensor with_ones = concat({v, ones({B, S, 1}, v.dtype())}, 2);  // (B, S, E + 1)
  const Tensor sums = prefix_product(q, k, with_ones, ends_of(mask, B, T, S));
  const auto result = [E](const Tensor& x) {
    return normalized(narrow(x, 2, 0, E), narrow(x, 2, E, 1));  // (B, T, E)
  };
  if (mask.keeps_all() || detail::all_finite(sums)) return result(sums);
  // A query that attends a NaN has no gradient: otherwise even dy = 0 would give NaN to all keys
  // that it attends.
  const Tensor non_finite = ne(sum(without_graph(sums) * 0.0, -1, true), 0.0);  // (B, T, 1)
  return where(non_finite, without_graph(result(sums)), result(where(non_finite, 0.0, sums)));
}

Tensor linear_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Mask& mask) {
  check(q, k, v);
  const Tensor kept = mask.to_tensor(q.dim(0), q.dim(1), k.dim(1));           // (B or 1, T, S)
  const Tensor products = where(kept, detail::kept_scores(q, k, kept), 0.0);  // (B, T, S)
  return detail::kept_mixture(normalized(products, sum(products, -1, true)), v, kept);  // (B, T, E)
}

Tensor linear_attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                                std::int64_t begin, std::int64_t end) {
  const NoGrad guard;
  check(q, k, k);
  const std::int64_t S = k.dim(1);
  const Tensor rows = narrow(without_graph(q), 1, begin, end - begin);
  const Tensor ends = narrow(ends_of(mask, q.dim(0), q.dim(1), S), 1, begin, end - begin);
  const Tensor products = matmul(rows, transpose(without_graph(k), 1, 2));  // (B, end - begin, S)
  const Tensor reached = lt(arange(S), unsqueeze(ends, -1));  // (B or 1, end - begin, S)
  const Tensor kept = where(reached, products, 0.0);
  return where(reached, normalized(kept, sum(kept, -1, true)), 0.0);
}

}  // namespace fovea
