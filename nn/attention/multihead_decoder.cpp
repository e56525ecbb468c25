#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/multihead_decoder.h>

#include <cmath>

namespace fovea::nn {
namespace {

const MultiheadDecoderAttentionOptions& checked(const MultiheadDecoderAttentionOptions& o) {
  check_widths("MultiheadDecoderAttention", o.query_dim, o.key_dim, o.attention_dim);
  check_sizes("MultiheadDecoderAttention",
              {{"value_dim", o.value_dim}, {"num_heads", o.num_heads}});
  if (o.attention_dim % o.num_heads != 0)
    value_error("MultiheadDecoderAttention",
                "attention_dim = {}: must be a multiple of num_heads = {}", o.attention_dim,
                o.num_heads);
  return o;
}

Linear projection(std::int64_t from, std::int64_t to, Rng& rng) {
  return Linear({.in_features = from, .out_features = to, .bias = false}, rng);
}

// (B, T, H D) -> (B, H, T, D), a view
Tensor split_heads(const Tensor& x, std::int64_t H) {
  return transpose(reshape(x, {x.dim(0), x.dim(1), H, x.dim(2) / H}), 1, 2);
}

}  // namespace

MultiheadDecoderAttention::MultiheadDecoderAttention(MultiheadDecoderAttentionOptions o, Rng& rng)
    : num_heads_(checked(o).num_heads),
      weights_(o.weights),
      query_proj(projection(o.query_dim, o.attention_dim, rng)),
      key_proj(projection(o.key_dim, o.attention_dim, rng)),
      value_proj(projection(o.value_dim, o.attention_dim, rng)),
      out_proj(projection(o.attention_dim, o.value_dim, rng)) {}

Tensor MultiheadDecoderAttention::project(const Tensor& key) const { return key_proj(key); }

Tensor MultiheadDecoderAttention::project_values(const Tensor& value) const {
  const Scope in(*this);
  return value_proj(value);
}

AttentionOutput MultiheadDecoderAttention::step(const Tensor& query, const AttentionMemory& memory,
                                                std::vector<Tensor>&) const {
  const Tensor q = split_heads(query_proj(query), num_heads_);  // (B, H, K, D)
  const Tensor k = split_heads(memory.keys, num_heads_);        // (B, H, S, D)
  const Tensor v = split_heads(memory.values, num_heads_);      // (B, H, S, D)
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.dim(3)));
  const Tensor scores = matmul(q * scale, transpose(k, 2, 3));       // (B, H, K, S)
  const Tensor weights = weights_of(scores, memory.mask, weights_);  // (B, H, K, S)
  const Tensor mixed = transpose(matmul(weights, v), 1, 2);          // (B, K, H, D)
  const std::int64_t width = q.dim(1) * q.dim(3);
  return {out_proj(reshape(mixed, {q.dim(0), q.dim(2), width})), weights};  // (B, K, C)
}

void MultiheadDecoderAttention::visit(Visitor& v) {
  v("query_proj", query_proj);
  v("key_proj", key_proj);
  v("value_proj", value_proj);
  v("out_proj", out_proj);
}

}  // namespace fovea::nn
