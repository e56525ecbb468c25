// Additive attention with coverage: the sum of the past weights of each key enters the score.
#pragma once

#include <fovea/nn/attention/additive.h>

namespace fovea::nn {

/// Additive attention with a coverage feature (See et al. 2017, Get To The Point: Summarization
/// with Pointer-Generator Networks, section 2.3; Tu et al. 2016, Modeling Coverage for Neural
/// Machine Translation), one query per step:
///   m_t = sum_{u < t} a_u, the coverage before step t
///   e_ts = v . tanh(W_q q_t + W_k k_s + w m_ts + b),   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, query_dim)  key: (B, S, key_dim)  value: (B, S, C)  ->  (B, T, C);
/// forward_with_weights() also returns the weights (B, T, S). The state is m_t, (B K, S), zeros
/// before the first step; gradients flow through it. A query with all keys masked has context and
/// weights 0. Parameters: those of AdditiveAttention, and coverage (A): w. coverage_loss() of
/// alignment.h penalizes repeated attention. ValueError for a width below 1, StateError for a state
/// of another shape.
class CoverageAttention : public AdditiveAttention {
 public:
  CoverageAttention(AdditiveAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  std::vector<Tensor> initial_state(const AttentionMemory& memory) const override;

  Tensor coverage;  ///< w (A)

 protected:
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
