// Additive attention as a module.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/ops/additive_attention.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct AdditiveAttentionOptions {
  std::int64_t query_dim;
  std::int64_t key_dim;
  std::int64_t attention_dim;  ///< A, the width of the hidden layer that scores
};

/// Additive attention (Bahdanau et al. 2015, appendix A.1.2):
///   e_ts = v . tanh(W_q q_t + W_k k_s + b),   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, query_dim)  key: (B, S, key_dim)  value: (B, S, C)  ->  context (B, T, C),
/// weights (B, T, S). A query that keeps no key has context and weights 0.
class AdditiveAttention : public Module {
 public:
  AdditiveAttention(AdditiveAttentionOptions options, Rng& rng);

  AttentionOutput operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                             const Mask& mask) const;

  /// The keys' half of the scores, W_k k + b: (B, S, A). A decoder computes it once a sentence ...
  Tensor project_keys(const Tensor& key) const;
  /// ... and attends with it at every step.
  AttentionOutput attend(const Tensor& query, const Tensor& projected_keys, const Tensor& value,
                         const Mask& mask) const;
  void visit(Visitor& v) override;

  Linear query_proj, key_proj;
  Tensor score;  ///< v (A)
};

}  // namespace fovea::nn
