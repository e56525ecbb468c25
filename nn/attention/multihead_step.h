// Multi-head attention for recurrent decoders, a step at a time.
#pragma once

#include <fovea/nn/attention/step.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct MultiheadStepAttentionOptions {
  std::int64_t query_dim;      ///< Cq
  std::int64_t key_dim;        ///< Ck
  std::int64_t value_dim;      ///< C, of the values and of the context
  std::int64_t attention_dim;  ///< A = H D, of all heads together
  std::int64_t num_heads = 4;  ///< H
  AttentionWeights weights = AttentionWeights::softmax;
};

/// Multi-head attention (Vaswani et al. 2017, Attention Is All You Need, section 3.2.2) whose keys
/// and values are projected once a sentence, for a recurrent decoder's queries:
///   e_hts = (W_h^Q q_t) . (W_h^K k_s) / sqrt(D),   a_ht = softmax(e_ht)
///   c_t = W^O [sum_s a_1ts W_1^V x_s; ...; sum_s a_Hts W_H^V x_s]
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); look() gives the heads'
/// mean weights (B, T, S) too, and a probe sees those of every head, (B, H, T, S). A query that
/// keeps no key has context and weights 0. Writes out the (B, H, T, S) scores: weights have
/// gradients, which the fused path of MultiheadAttention has no need of. Parameters, without
/// biases: query_proj.weight (A, Cq), key_proj.weight (A, Ck), value_proj.weight (A, C),
/// out_proj.weight (C, A). ValueError for a width below 1, and unless A is a multiple of H.
class MultiheadStepAttention : public StepAttention {
  std::int64_t num_heads_;
  AttentionWeights weights_;

 public:
  MultiheadStepAttention(MultiheadStepAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  Tensor project_values(const Tensor& value) const override;

  Linear query_proj, key_proj, value_proj, out_proj;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
