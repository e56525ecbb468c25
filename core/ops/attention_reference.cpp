#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/ops/attention_detail.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>

#include <cmath>
#include <limits>

namespace fovea {
namespace {

using detail::AttentionShape;

// Repeats each key/value head for its query heads: (B, G, S, C) -> (B, H, S, C)
Tensor repeat_heads(const Tensor& x, std::int64_t H) {
  const std::int64_t B = x.dim(0), G = x.dim(1), S = x.dim(2), C = x.dim(3);
  if (G == H) return x;
  return reshape(expand(unsqueeze(x, 2), {B, G, H / G, S, C}), {B, H, S, C});
}

struct Softmax {
  Tensor weights, logsumexp;
};

// Over the attended keys and the sink, if there is one.
Softmax softmax_with_sink(const Tensor& scores, const Tensor& kept, const Tensor& sinks) {
  const std::int64_t H = scores.dim(1);
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const Tensor masked = kept.defined() ? where(kept, scores, minus_infinity) : scores;
  Tensor top = masked.dim(-1) == 0  // no key at all
                   ? full({masked.dim(0), H, masked.dim(2), 1}, minus_infinity, masked.dtype())
                   : max(without_graph(masked), -1, true);  // (B, H, T, 1)
  const Tensor sink = sinks.defined() ? reshape(sinks, {1, H, 1, 1}) : Tensor();
  if (sink.defined()) top = maximum(top, without_graph(sink));
  top = where(eq(top, minus_infinity), 0.0, top);  // a row with no attended key
  Tensor e = exp(masked - top);                    // (B, H, T, S); 0 where masked
  const bool non_finite =
      kept.defined() && !detail::all_finite(top);  // a NaN or inf that is not masked
  if (non_finite) e = where(kept, e, 0.0);
  Tensor total = sum(e, -1, true);  // (B, H, T, 1)
  if (sink.defined()) total = total + exp(sink - top);
  const Tensor empty_row = eq(total, 0.0);
  const Tensor safe = where(empty_row, 1.0, total);
  const Tensor lse = where(empty_row, minus_infinity, log(safe) + top);
  const Tensor weights = e / safe;
  return {non_finite ? where(kept, weights, 0.0) : weights, squeeze(lse, -1)};
}

// Dropout factors 1 / (1 - p) or 0: (B, H, T, S). The word of (b, h, t, s) has index ((b H + h) S +
// s) T4 + t, T4 being T rounded up to a multiple of 4.
Tensor dropout_factors(const AttentionShape& n, DType dtype, double p, Rng& rng) {
  const NoGrad guard;
  const std::int64_t T4 = (n.T + 3) / 4 * 4;
  const Tensor factors = dropout(ones({n.B, n.H, n.S, T4}, dtype), p, rng);
  return transpose(narrow(factors, -1, 0, n.T), -1, -2);
}

// Rows [begin, end) of the mask as a tensor: (B or 1, H or 1, rows, S)
Tensor kept_rows(const AttentionShape& n, const Mask& mask, std::int64_t begin, std::int64_t end) {
  const MaskPlan plan = mask.plan({n.B, n.H, n.T, n.S});
  const std::int64_t rows = end - begin;
  const Shape shape{plan.per_row ? n.B : 1, 1, rows, n.S};
  Tensor kept = DryRun::on() ? zeros(shape, DType::boolean) : ones(shape, DType::boolean);
  if (!plan.begin.empty() && !DryRun::on()) {
    bool* row = kept.mutable_data<bool>();
    for (std::int64_t b = 0; b < kept.dim(0); ++b)
      for (std::int64_t t = begin; t < end; ++t, row += n.S) {
        const auto at = static_cast<std::size_t>(b * n.T + t);
        std::fill(row, row + plan.begin[at], false);
        std::fill(row + plan.end[at], row + n.S, false);
      }
  }
  for (const Tensor& table : plan.tables)
    kept = logical_and(kept, table.dim(2) == 1 ? table : narrow(table, 2, begin, rows));
  for (const MaskPlan::Ids& ids : plan.ids) {
    const Tensor query = narrow(ids.query, 1, begin, rows);
    const Tensor same = eq(unsqueeze(query, 2), unsqueeze(ids.key, 1));  // (B or 1, rows, S)
    kept = logical_and(kept, unsqueeze(same, 1));
  }
  return kept;
}

}  // namespace

namespace detail {

AttentionShape check_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                               const AttentionOptions& options) {
  check_defined("scaled_dot_product_attention", "q", q, "k", k, "v", v);
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4 || q.dim(0) != k.dim(0) ||
      k.dim(0) != v.dim(0) || k.dim(1) != v.dim(1) || k.dim(2) != v.dim(2) ||
      q.dim(3) != k.dim(3) || k.dim(1) == 0 || q.dim(1) == 0 || q.dim(1) % k.dim(1) != 0)
    shape_error("scaled_dot_product_attention",
                "q {}, k {}, v {}: must be (B, H, T, D), (B, G, S, D), (B, G, S, E), H a multiple "
                "of G, both at least 1",
                q.shape().str(), k.shape().str(), v.shape().str());
  if (q.dtype() != k.dtype() || k.dtype() != v.dtype())
    dtype_error("scaled_dot_product_attention", "q {}, k {}, v {}: dtypes must be equal",
                name_of(q.dtype()), name_of(k.dtype()), name_of(v.dtype()));
  check_attention_options(options, q.dim(1), q.dtype());
  return {q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), v.dim(3)};
}

void check_attention_options(const AttentionOptions& options, std::int64_t H, DType dtype) {
  constexpr const char* op = "scaled_dot_product_attention";
  if (!(options.dropout >= 0 && options.dropout < 1))
    value_error(op, "dropout = {}: must be in [0, 1)", options.dropout);
  if (options.dropout > 0 && options.rng == nullptr)
    value_error(op, "dropout = {} without rng: rng must be given", options.dropout);
  if (!options.sinks.defined()) return;
  if (!(options.sinks.shape() == Shape{H}))
    shape_error(op, "sinks {} for {} heads: must be (H)", options.sinks.shape().str(), H);
  if (options.sinks.dtype() != dtype)
    dtype_error(op, "sinks {}, q {}: dtypes must be equal", name_of(options.sinks.dtype()),
                name_of(dtype));
}

double attention_scale(const AttentionOptions& options, std::int64_t D) {
  return options.scale.value_or(1.0 / std::sqrt(static_cast<double>(D)));
}

AttentionResult attention_reference_with(const Tensor& q, const Tensor& k, const Tensor& v,
                                         const Mask& mask, const AttentionOptions& options,
                                         const std::vector<Tensor>& captured) {
  const AttentionShape n = check_attention(q, k, v, options);
  const Tensor kept = mask.keeps_all() ? Tensor() : mask.to_tensor({n.B, n.H, n.T, n.S});
  Tensor scores =
      attention_scale(options, n.D) * kept_scores(q, repeat_heads(k, n.H), kept);  // (B, H, T, S)
  if (options.score_mod) scores = options.score_mod.impl().reference(scores, captured, 0, n.T);
  const Softmax softmax = softmax_with_sink(scores, kept, options.sinks);
  Tensor weights = softmax.weights;  // rows sum to 1 (minus the sink's weight), or are all 0
  if (options.dropout > 0)
    weights = weights * dropout_factors(n, q.dtype(), options.dropout, *options.rng);
  const Tensor output = kept_mixture(weights, repeat_heads(v, n.H), kept);  // (B, H, T, E)
  return {output, softmax.logsumexp};
}

}  // namespace detail

AttentionResult attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask, const AttentionOptions& options) {
  return detail::attention_reference_with(
      q, k, v, mask, options,
      options.score_mod ? options.score_mod.impl().captured : std::vector<Tensor>{});
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                         const AttentionOptions& options, std::int64_t begin, std::int64_t end) {
  const NoGrad guard;
  AttentionOptions before_dropout = options;
  before_dropout.dropout = 0;
  const AttentionShape n = detail::check_attention(q, k, k, before_dropout);
  if (begin < 0 || begin > end || end > n.T)
    index_error("attention_weights", "queries [{}, {}) of {}: must be in [0, {}]", begin, end, n.T,
                n.T);
  const Tensor rows = narrow(without_graph(q), 2, begin, end - begin);
  Tensor scores = detail::attention_scale(options, n.D) *
                  matmul(rows, transpose(repeat_heads(without_graph(k), n.H), -1, -2));
  if (options.score_mod)
    scores =
        options.score_mod.impl().reference(scores, options.score_mod.impl().captured, begin, n.T);
  const Tensor kept = mask.keeps_all() ? Tensor() : kept_rows(n, mask, begin, end);
  const Tensor sinks = options.sinks.defined() ? without_graph(options.sinks) : Tensor();
  return softmax_with_sink(scores, kept, sinks).weights;  // (B, H, rows, S)
}

}  // namespace fovea
