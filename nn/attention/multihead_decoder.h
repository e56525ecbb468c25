// Multi-head attention for recurrent decoders, one step at a time.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct MultiheadDecoderAttentionOptions {
  std::int64_t query_dim;      ///< Cq
  std::int64_t key_dim;        ///< Ck
  std::int64_t value_dim;      ///< C, of the values and of the context
  std::int64_t attention_dim;  ///< A = H D, of all heads together
  std::int64_t num_heads = 4;  ///< H
  AttentionNormalizer weights = AttentionNormalizer::softmax;
};

/// Multi-head attention (Vaswani et al. 2017, Attention Is All You Need, section 3.2.2) whose keys
/// and values are projected once per sentence, for the queries of a recurrent decoder:
///   e_hts = (W_h^Q q_t) . (W_h^K k_s) / sqrt(D),   a_ht = softmax(e_ht)
///   c_t = W^O [sum_s a_1ts W_1^V x_s; ...; sum_s a_Hts W_H^V x_s]
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); forward_with_weights() also
/// returns the mean weights over the heads (B, T, S); observers receive those of every head,
/// (B, H, T, S). A query with all keys masked has context and weights 0. Stores the (B, H, T, S)
/// scores in memory: unlike in MultiheadAttention, the weights have gradients. Parameters, without
/// biases: query_proj.weight (A, Cq), key_proj.weight (A, Ck), value_proj.weight (A, C),
/// out_proj.weight (C, A). ValueError for a width below 1, and unless A is a multiple of H.
class MultiheadDecoderAttention : public DecoderAttention {
  std::int64_t num_heads_;
  AttentionNormalizer weights_;

 public:
  MultiheadDecoderAttention(MultiheadDecoderAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  Tensor project_values(const Tensor& value) const override;

  Linear query_proj, key_proj, value_proj, out_proj;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
