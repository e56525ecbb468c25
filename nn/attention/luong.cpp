#include <fovea/core/ops/matmul.h>
#include <fovea/nn/attention/luong.h>

namespace fovea::nn {

LuongAttention::LuongAttention(LuongAttentionOptions o, Rng& rng)
    : weights_(o.weights), scores({o.score, o.query_dim, o.key_dim, o.attention_dim}, rng) {}

Tensor LuongAttention::project(const Tensor& key) const { return scores.project(key); }

AttentionOutput LuongAttention::step(const Tensor& query, const AttentionMemory& memory,
                                     std::vector<Tensor>&) const {
  if (scores.options().score == Score::concat)
    return additive_attend(scores.project_query(query), memory, scores.score, weights_);
  const Tensor weights = weights_of(scores(query, memory.keys), memory.mask, weights_);
  return {matmul(weights, memory.values), weights};  // (B, K, C), (B, K, S)
}

}  // namespace fovea::nn
