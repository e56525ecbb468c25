#include <fovea/core/autograd.h>
#include <fovea/core/kernels/additive_attention.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optional_input_detail.h>
#include <fovea/core/ops/softmax.h>

namespace fovea {
namespace {

using detail::data_or_null;

kernels::AdditiveSizes checked_sizes(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const Tensor& x) {
  check_defined("additive_attention", "queries", q, "keys", k, "v", v, "values", x);
  const bool ranks = q.rank() == 3 && k.rank() == 3 && v.rank() == 1 && x.rank() == 3;
  if (!ranks || q.dim(0) != k.dim(0) || k.dim(0) != x.dim(0) || k.dim(1) != x.dim(1) ||
      q.dim(2) != k.dim(2) || v.dim(0) != k.dim(2))
    shape_error(
        "additive_attention",
        "queries {}, keys {}, v {}, values {}: must be (B, T, A), (B, S, A), (A), (B, S, C)",
        q.shape().str(), k.shape().str(), v.shape().str(), x.shape().str());
  if (q.dtype() != k.dtype() || k.dtype() != v.dtype() || v.dtype() != x.dtype())
    dtype_error("additive_attention", "queries {}, keys {}, v {}, values {}: dtypes must be equal",
                name_of(q.dtype()), name_of(k.dtype()), name_of(v.dtype()), name_of(x.dtype()));
  return {q.dim(0), q.dim(1), k.dim(1), k.dim(2), x.dim(2)};
}

kernels::MaskTable keep_table(const Tensor& kept) {
  if (!kept.defined()) return {nullptr, 0, 0};
  return {kept.data<bool>(), kept.dim(0) > 1 ? kept.dim(1) * kept.dim(2) : 0, kept.dim(2)};
}

struct AdditiveGrads {
  Tensor q, k, v, x;
};

AdditiveGrads fused_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& x,
                             const Tensor& weights, std::span<const Tensor> dys) {
  AdditiveGrads d{empty(q.shape(), q.dtype()), empty(k.shape(), k.dtype()),
                  empty(v.shape(), v.dtype()), empty(x.shape(), x.dtype())};
  const kernels::AdditiveSizes sizes = checked_sizes(q, k, v, x);
  dispatch_float(q.dtype(), "additive_attention", [&]<class T>() {
    kernels::additive_attention_backward(
        sizes, q.data<T>(), k.data<T>(), v.data<T>(), x.data<T>(), weights.data<T>(),
        data_or_null<T>(dys[0]), data_or_null<T>(dys[1]), d.q.mutable_data<T>(),
        d.k.mutable_data<T>(), d.v.mutable_data<T>(), d.x.mutable_data<T>());
  });
  return d;
}

}  // namespace

AttentionOutput additive_attention(const Tensor& queries, const Tensor& keys, const Tensor& v_,
                                   const Tensor& values, const Mask& mask) {
  const kernels::AdditiveSizes n = checked_sizes(queries, keys, v_, values);
  const Tensor q = queries.contiguous(), k = keys.contiguous(), v = v_.contiguous(),
               x = values.contiguous();
  const Tensor kept = mask.keeps_all() ? Tensor() : mask.to_tensor(n.B, n.T, n.S);
  Tensor context = empty({n.B, n.T, n.C}, q.dtype()), weights = empty({n.B, n.T, n.S}, q.dtype());
  dispatch_float(q.dtype(), "additive_attention", [&]<class T>() {
    kernels::additive_attention_forward(n, keep_table(kept), q.data<T>(), k.data<T>(), v.data<T>(),
                                        x.data<T>(), weights.mutable_data<T>(),
                                        context.mutable_data<T>());
  });
  detail::note_work([&] {
    const MaskSizes pairs{n.B, 1, n.T, n.S};
    return kept_pairs(mask.plan(pairs), pairs);
  });
  const Tensor a = without_graph(weights);  // detached
  std::vector<Tensor> out = record_outputs<"additive_attention">(
      {std::move(context), std::move(weights)}, {q, k, v, x},
      [q = keep(q), k = keep(k), v = keep(v), x = keep(x), a = keep(a), mask](
          std::span<const Tensor> dys, NeedsGrad needs_grad) -> Grads {
        if (grad_enabled()) {
          const auto reference = [&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
            AttentionOutput y = additive_attention_reference(in[0], in[1], in[2], in[3], mask);
            return {y.context, y.weights};
          };
          const Tensor inputs[] = {q, k, v, x};
          return backward_by_reference(reference, inputs, dys, needs_grad);
        }
        AdditiveGrads d = fused_backward(q, k, v, x, a, dys);
        Grads grads(4);
        grads[0] = std::move(d.q);
        grads[1] = std::move(d.k);
        grads[2] = std::move(d.v);
        grads[3] = std::move(d.x);
        return grads;
      });
  return {std::move(out[0]), std::move(out[1])};
}

AttentionOutput additive_attention_reference(const Tensor& queries, const Tensor& keys,
                                             const Tensor& v, const Tensor& values,
                                             const Mask& mask) {
  checked_sizes(queries, keys, v, values);
  Tensor pairs = unsqueeze(queries, 2) + unsqueeze(keys, 1);  // (B, T, S, A)
  Tensor kept;                                                // (B or 1, T, S)
  if (!mask.keeps_all()) {
    kept = mask.to_tensor(queries.dim(0), queries.dim(1), keys.dim(1));
    pairs = where(unsqueeze(kept, -1), pairs, 0.0);
  }
  const Tensor scores = matmul(tanh(pairs), v);                   // (B, T, S)
  const Tensor weights = masked_softmax(scores, mask);            // rows of 1 or of 0
  return {detail::kept_mixture(weights, values, kept), weights};  // (B, T, C)
}

}  // namespace fovea
