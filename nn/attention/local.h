// Luong's local attention: each query attends only to keys near one position.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

#include <optional>

namespace fovea::nn {

struct LocalAttentionOptions {
  /// The center of the window: predicted from the query (local-p), or the step index (local-m).
  bool predictive = true;
  std::int64_t window = 10;  ///< D: keys at a distance of at most D from the center
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A, the width of the predicting layer, and of concat
  AttentionNormalizer weights = AttentionNormalizer::softmax;
};

/// Local attention (Luong et al. 2015, section 3.2):
///   local-m   p_t = t, the step index, from 0
///   local-p   p_t = S sigmoid(v_p . tanh(W_p q_t)), S the position after the last unmasked key
///   a_ts = softmax(score(q_t, k_s)) over the unmasked keys with |s - p_t| <= D, positions from 0;
///   local-p   times exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D / 2: so p_t has a gradient
///   c_t = sum_s a_ts x_s
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); forward_with_weights() also
/// returns the weights (B, T, S). Rows of local-m sum to 1; rows of local-p, as in the paper, are
/// not normalized again after the Gaussian factor. If the window contains no unmasked key (a step
/// far after the end of the sentence), context and weights are 0. The borders of the window have no
/// gradient. The state of local-m is the step index, i64 (B K). Parameters: those of the score, and
/// for local-p position_proj.weight (A, Cq) and position (A). ValueError if D < 1 or, for local-p,
/// A < 1.
class LocalAttention : public DecoderAttention {
  bool predictive_;
  std::int64_t window_;
  AttentionNormalizer weights_;

 public:
  LocalAttention(LocalAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  std::vector<Tensor> initial_state(const AttentionMemory& memory) const override;

  AttentionScore scores;
  std::optional<Linear> position_proj;  ///< W_p
  Tensor position;                      ///< v_p

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;

 private:
  Tensor predict(const Tensor& query, const Tensor& kept) const;
};

}  // namespace fovea::nn
