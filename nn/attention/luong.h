// Luong's global attention: every key is looked at.
#pragma once

#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/step.h>
#include <fovea/nn/attention/weights.h>

namespace fovea::nn {

struct LuongAttentionOptions {
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A of concat
  AttentionWeights weights = AttentionWeights::softmax;
};

/// Global attention (Luong et al. 2015, section 3.1), and with scaled_dot that of Vaswani et al.
/// 2017, section 3.2.1, with one head and no projections:
///   e_ts = score(q_t, k_s), see score.h,   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); look() gives the weights
/// (B, T, S) too. A query that keeps no key has context and weights 0. The layer that joins c_t and
/// the decoder's state (the paper's equation 5) is the decoder's. concat with softmax is one fused
/// op; the others write out the (B, T, S) scores. Errors: AttentionScore's and StepAttention's.
class LuongAttention : public StepAttention {
  AttentionWeights weights_;

 public:
  LuongAttention(LuongAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override { scores.visit(v); }  // weight, score: under no further name

  AttentionScore scores;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
