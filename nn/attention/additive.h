// Additive attention as a module.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct AdditiveAttentionOptions {
  std::int64_t query_dim;
  std::int64_t key_dim;
  std::int64_t attention_dim;  ///< A, the width of the hidden layer of the score
  AttentionNormalizer weights = AttentionNormalizer::softmax;
};

/// Additive attention (Bahdanau et al. 2015, appendix A.1.2):
///   e_ts = v . tanh(W_q q_t + W_k k_s + b),   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, query_dim)  key: (B, S, key_dim)  value: (B, S, C)  ->  (B, T, C);
/// forward_with_weights() also returns the weights (B, T, S). A query with all keys masked has
/// context and weights 0. With softmax this is one fused op; the other normalizers store the hidden
/// layer, (B, T, S, A), in memory. ValueError for a width below 1.
class AdditiveAttention : public DecoderAttention {
  AttentionNormalizer weights_;

 public:
  AdditiveAttention(AdditiveAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  Linear query_proj, key_proj;
  Tensor score;  ///< v (A)

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
  AttentionNormalizer weights() const { return weights_; }
};

}  // namespace fovea::nn
