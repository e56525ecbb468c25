#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>

#include <cmath>

namespace fovea {
namespace {

struct Sizes {
  std::int64_t B, H, G, T, S, D, E;
};

Sizes checked_sizes(const Tensor& q, const Tensor& k, const Tensor& v) {
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4 || q.dim(0) != k.dim(0) ||
      k.dim(0) != v.dim(0) || k.dim(1) != v.dim(1) || k.dim(2) != v.dim(2) ||
      q.dim(3) != k.dim(3) || k.dim(1) == 0 || q.dim(1) % k.dim(1) != 0)
    shape_error("scaled_dot_product_attention",
                "q {}, k {}, v {}: they must be (B, H, T, D), (B, G, S, D), (B, G, S, E), H a "
                "multiple of G",
                q.shape().str(), k.shape().str(), v.shape().str());
  if (q.dtype() != k.dtype() || k.dtype() != v.dtype())
    dtype_error("scaled_dot_product_attention", "q {}, k {}, v {}: types must be equal",
                name_of(q.dtype()), name_of(k.dtype()), name_of(v.dtype()));
  return {q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), v.dim(3)};
}

double scale_of(const AttentionOptions& options, std::int64_t D) {
  return options.scale.value_or(1.0 / std::sqrt(static_cast<double>(D)));
}

// Each key/value head once for every query head that looks at it: (B, G, S, C) -> (B, H, S, C)
Tensor repeat_heads(const Tensor& x, std::int64_t H) {
  const std::int64_t B = x.dim(0), G = x.dim(1), S = x.dim(2), C = x.dim(3);
  if (G == H) return x;
  return reshape(expand(unsqueeze(x, 2), {B, G, H / G, S, C}), {B, H, S, C});
}

struct Softmax {
  Tensor weights, logsumexp;
};

// Over the kept keys and, where there is one, the sink.
Softmax softmax_with_sink(const Tensor& scores, const Tensor& kept, const Tensor& sinks) {
  const std::int64_t H = scores.dim(1);
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const Tensor masked = kept.defined() ? where(kept, scores, minus_infinity) : scores;
  Tensor top = max(numbers_of(masked), -1, true);  // (B, H, T, 1)
  const Tensor sink = sinks.defined() ? reshape(sinks, {1, H, 1, 1}) : Tensor();
  if (sink.defined()) top = maximum(top, numbers_of(sink));
  top = where(eq(top, minus_infinity), 0.0, top);  // a row that keeps nothing
  const Tensor e = exp(masked - top);              // (B, H, T, S); 0 where nothing is kept
  Tensor total = sum(e, -1, true);                 // (B, H, T, 1)
  if (sink.defined()) total = total + exp(sink - top);
  const Tensor empty_row = eq(total, 0.0);
  const Tensor safe = where(empty_row, 1.0, total);
  const Tensor lse = where(empty_row, minus_infinity, log(safe) + top);
  return {e / safe, squeeze(lse, -1)};
}

// 1 / (1 - p) where a weight stays, else 0: (B, H, T, S). The word of (b, h, t, s) is number
// ((b H + h) S + s) T4 + t, T4 being T rounded up to a multiple of 4.
Tensor dropout_factors(const Sizes& n, DType dtype, double p, Rng& rng) {
  const NoGrad guard;
  const std::int64_t T4 = (n.T + 3) / 4 * 4;
  const Tensor factors = dropout(ones({n.B, n.H, n.S, T4}, dtype), p, rng);
  return transpose(narrow(factors, -1, 0, n.T), -1, -2);
}

}  // namespace

AttentionResult attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask, const AttentionOptions& options) {
  const Sizes n = checked_sizes(q, k, v);
  Tensor scores =
      scale_of(options, n.D) * matmul(q, transpose(repeat_heads(k, n.H), -1, -2));  // (B, H, T, S)
  if (options.score_mod)
    scores = options.score_mod.impl().reference(scores, options.score_mod.impl().captured, 0);
  const Tensor kept = mask.keeps_all() ? Tensor() : mask.to_tensor({n.B, n.H, n.T, n.S});
  const Softmax softmax = softmax_with_sink(scores, kept, options.sinks);
  Tensor weights = softmax.weights;  // rows sum to 1 (less the sink's part), or are all 0
  if (options.dropout > 0)
    weights = weights * dropout_factors(n, q.dtype(), options.dropout, *options.rng);
  return {matmul(weights, repeat_heads(v, n.H)), softmax.logsumexp};  // (B, H, T, E), (B, H, T)
}

AttentionResult scaled_dot_product_attention_with_lse(const Tensor& q, const Tensor& k,
                                                      const Tensor& v, const Mask& mask,
                                                      const AttentionOptions& options) {
  return attention_reference(q, k, v, mask, options);
}

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask, const AttentionOptions& options) {
  return scaled_dot_product_attention_with_lse(q, k, v, mask, options).output;
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                         const AttentionOptions& options, std::int64_t begin, std::int64_t end) {
  const NoGrad guard;
  const Sizes n = checked_sizes(q, k, k);
  const Tensor rows = narrow(numbers_of(q), 2, begin, end - begin);
  Tensor scores =
      scale_of(options, n.D) * matmul(rows, transpose(repeat_heads(numbers_of(k), n.H), -1, -2));
  if (options.score_mod)
    scores = options.score_mod.impl().reference(scores, options.score_mod.impl().captured, begin);
  Tensor kept;
  if (!mask.keeps_all()) kept = narrow(mask.to_tensor({n.B, n.H, n.T, n.S}), 2, begin, end - begin);
  return softmax_with_sink(scores, kept, options.sinks).weights;  // (B, H, rows, S)
}

}  // namespace fovea
