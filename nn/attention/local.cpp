#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/local.h>
#include <fovea/nn/init.h>

namespace fovea::nn {
namespace {

// The position after the last unmasked key per query.   kept: (B or 1, K, S) -> (B or 1, K, 1)
Tensor ends_of(const Tensor& kept, DType dtype) {
  const std::int64_t S = kept.dim(-1);
  if (S == 0) return zeros({kept.dim(0), kept.dim(1), 1}, dtype);
  const Tensor positions = arange(1.0, static_cast<double>(S) + 1, 1.0, dtype);  // 1 .. S
  return max(where(kept, positions, 0.0), -1, true);
}

}  // namespace

LocalAttention::LocalAttention(LocalAttentionOptions o, Rng& rng)
    : predictive_(o.predictive),
      window_(o.window),
      weights_(o.weights),
      scores({o.score, o.query_dim, o.key_dim, o.attention_dim}, rng) {
  checked_range("LocalAttention", "window", o.window, 1);
  if (!o.predictive) return;
  check_sizes("LocalAttention", {{"attention_dim", o.attention_dim}});
  position_proj.emplace(
      LinearOptions{.in_features = o.query_dim, .out_features = o.attention_dim, .bias = false},
      rng);
  position = init::uniform_parameter({o.attention_dim}, o.attention_dim, rng);
}

Tensor LocalAttention::project(const Tensor& key) const { return scores.project(key); }

std::vector<Tensor> LocalAttention::initial_state(const AttentionMemory& memory) const {
  if (predictive_) return {};
  return {zeros({memory.values.dim(0)}, DType::i64)};
}

// p_t: (B, K, 1)
Tensor LocalAttention::predict(const Tensor& query, const Tensor& kept) const {
  const Tensor part = sigmoid(matmul(tanh((*position_proj)(query)), position));  // (B, K)
  return ends_of(kept, query.dtype()) * unsqueeze(part, -1);
}

AttentionOutput LocalAttention::step(const Tensor& query, const AttentionMemory& memory,
                                     std::vector<Tensor>& state) const {
  const std::int64_t B = query.dim(0), K = query.dim(1), S = memory.values.dim(1);
  const Tensor kept = memory.mask.to_tensor(B, K, S);  // (B or 1, K, S)
  Tensor center;                                       // (B, K, 1)
  if (predictive_) {
    center = predict(query, kept);
  } else {
    if (state.size() != 1 || !(state[0].shape() == Shape{B * K}))
      state_error("LocalAttention", "state: must be the step index of {} hypotheses", B * K);
    center = reshape(state[0], {B, K, 1}).to(query.dtype());
    state[0] = state[0] + 1.0;
  }
  const Tensor positions = arange(0.0, static_cast<double>(S), 1.0, query.dtype());  // (S)
  const auto reach = static_cast<double>(window_);
  const Tensor near = le(abs(positions - without_graph(center)), reach);  // (B, K, S)
  const Tensor inside = logical_and(kept, near);                          // (B, K, S)
  Tensor weights = weights_of(scores(query, memory.keys), inside, weights_);
  if (predictive_) {
    const double sigma = reach / 2;
    weights = weights * exp(square(positions - center) * (-1 / (2 * sigma * sigma)));
  }
  return {detail::kept_mixture(weights, memory.values, inside), weights};  // (B, K, C), (B, K, S)
}

void LocalAttention::visit(Visitor& v) {
  scores.visit(v);  // weight, score: without a prefix
  v("position_proj", position_proj);
  v("position", position);
}

}  // namespace fovea::nn
