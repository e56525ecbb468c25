#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/nn/attention/coverage.h>
#include <fovea/nn/init.h>

namespace fovea::nn {

CoverageAttention::CoverageAttention(AdditiveAttentionOptions o, Rng& rng)
    : AdditiveAttention(o, rng),
      coverage(init::uniform_parameter({o.attention_dim}, o.attention_dim, rng)) {}

std::vector<Tensor> CoverageAttention::initial_state(const AttentionMemory& memory) const {
  return {zeros({memory.values.dim(0), memory.values.dim(1)}, memory.values.dtype())};
}

AttentionOutput CoverageAttention::step(const Tensor& query, const AttentionMemory& memory,
                                        std::vector<Tensor>& state) const {
  const std::int64_t rows = query.dim(0) * query.dim(1), S = memory.values.dim(1);
  if (state.size() != 1 || !(state[0].shape() == Shape{rows, S}))
    state_error("CoverageAttention", "state: must be the sum of past weights, ({}, {})", rows, S);
  const Tensor key_bias = unsqueeze(state[0], -1) * coverage;  // (B K, S, A)
  const AttentionOutput output =
      additive_attend(query_proj(query), memory, key_bias, score, weights());
  state[0] = state[0] + reshape(output.weights, {rows, S});
  return output;
}

void CoverageAttention::visit(Visitor& v) {
  AdditiveAttention::visit(v);
  v("coverage", coverage);
}

}  // namespace fovea::nn
