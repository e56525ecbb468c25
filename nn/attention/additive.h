// Additive attention as a module.
#pragma once

#include <fovea/nn/attention/step.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct AdditiveAttentionOptions {
  std::int64_t query_dim;
  std::int64_t key_dim;
  std::int64_t attention_dim;  ///< A, the width of the hidden layer that scores
  AttentionWeights weights = AttentionWeights::softmax;
};

/// Additive attention (Bahdanau et al. 2015, appendix A.1.2):
///   e_ts = v . tanh(W_q q_t + W_k k_s + b),   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, query_dim)  key: (B, S, key_dim)  value: (B, S, C)  ->  (B, T, C); look() gives
/// the weights (B, T, S) too. A query that keeps no key has context and weights 0. With softmax the
/// whole is one fused op; with the others the hidden layer, (B, T, S, A), is written out.
/// ValueError for a width below 1.
class AdditiveAttention : public StepAttention {
  AttentionWeights weights_;

 public:
  AdditiveAttention(AdditiveAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  Linear query_proj, key_proj;
  Tensor score;  ///< v (A)

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
  AttentionWeights weights() const { return weights_; }
};

}  // namespace fovea::nn
