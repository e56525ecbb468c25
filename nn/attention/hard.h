// Hard attention: each query takes one value whole.
#pragma once

#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/step.h>

namespace fovea::nn {

struct HardAttentionOptions {
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A of concat
  bool sample = false;             ///< in training the key is drawn with the weights' probabilities
};

/// Hard attention (Xu et al. 2015, Show, Attend and Tell, section 4.1), trained straight through:
///   p_t = softmax(e_t),   a_t = one-hot(argmax p_t), or of a draw from p_t,   c_t = sum_s a_ts x_s
///   backward: as if a_t were p_t
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); look() gives the weights,
/// (B, T, S) of 0 and 1. Of equal scores the first key is taken; a query that keeps no key has
/// context and weights 0.
/// For teaching: the gradient is that of soft attention at another point than the forward's, a
/// biased estimate (Bengio et al. 2013, section 4, of the straight-through estimator); the paper's
/// own is the unbiased and noisier score-function estimator. eval() takes the argmax.
/// `rng` is used while sampling and must outlive the module.
class HardAttention : public StepAttention {
  bool sample_;
  Rng* rng_;

 public:
  HardAttention(HardAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override { scores.visit(v); }  // weight, score: under no further name

  AttentionScore scores;

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;

 private:
  Tensor choose(const Tensor& soft) const;
};

}  // namespace fovea::nn
