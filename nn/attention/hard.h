// Hard attention: each query selects exactly one value.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/score.h>

namespace fovea::nn {

struct HardAttentionOptions {
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A of concat
  bool sample = false;             ///< in training mode, draw the key from the distribution p_t
};

/// Hard attention (Xu et al. 2015, Show, Attend and Tell, section 4.1), trained with the
/// straight-through estimator:
///   p_t = softmax(e_t),   a_t = one-hot(argmax p_t), or one-hot(sample from p_t)
///   c_t = sum_s a_ts x_s;   backward: as if a_t were p_t
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); forward_with_weights() also
/// returns the weights, (B, T, S) with values 0 and 1. Among equal scores the first key is
/// selected; a query with all keys masked has context and weights 0. Intended for education: the
/// gradient is that of soft attention at another point than the forward value, a biased estimate
/// (Bengio et al. 2013, section 4, on the straight-through estimator); the paper itself uses the
/// unbiased, noisier score-function estimator. eval() takes the argmax. `rng` is used while
/// sampling and must outlive the module.
class HardAttention : public DecoderAttention {
  bool sample_;
  Rng* rng_;

 public:
  HardAttention(HardAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override { scores.visit(v); }  // weight, score: without a prefix

  AttentionScore scores;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;

 private:
  Tensor choose(const Tensor& soft) const;
};

}  // namespace fovea::nn
