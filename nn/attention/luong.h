// Luong's global attention: each query attends to all keys.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/weights.h>

namespace fovea::nn {

struct LuongAttentionOptions {
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A of concat
  AttentionNormalizer weights = AttentionNormalizer::softmax;
};

/// Global attention (Luong et al. 2015, section 3.1), and with scaled_dot that of Vaswani et al.
/// 2017, section 3.2.1, with one head and no projections:
///   e_ts = score(q_t, k_s), see score.h,   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); forward_with_weights() also
/// returns the weights (B, T, S). A query with all keys masked has context and weights 0. The layer
/// that combines c_t and the decoder's state (the paper's equation 5) is part of the decoder.
/// concat with softmax is one fused op; the others store the (B, T, S) scores in memory. Errors:
/// those of AttentionScore and DecoderAttention.
class LuongAttention : public DecoderAttention {
  AttentionNormalizer weights_;

 public:
  LuongAttention(LuongAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override { scores.visit(v); }  // weight, score: without a prefix

  AttentionScore scores;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
