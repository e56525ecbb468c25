// Luong's local attention: only keys near one place are looked at.
#pragma once

#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/step.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

#include <optional>

namespace fovea::nn {

struct LocalAttentionOptions {
  /// Where the window stands: at the step's own number, or where the query says.
  bool predictive = true;
  std::int64_t window = 10;  ///< D: keys within D of the place
  Score score = Score::general;
  std::int64_t query_dim;          ///< Cq
  std::int64_t key_dim;            ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A, the width of the layer that predicts, and of concat
  AttentionWeights weights = AttentionWeights::softmax;
};

/// Local attention (Luong et al. 2015, section 3.2):
///   local-m   p_t = t, the number of the step, from 0
///   local-p   p_t = S sigmoid(v_p . tanh(W_p q_t)), S the place after the last key that is kept
///   a_ts = softmax(score(q_t, k_s)) over the kept keys with |s - p_t| <= D, places from 0;
///   local-p   times exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D / 2: so p_t has a gradient
///   c_t = sum_s a_ts x_s
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C); look() gives the weights
/// (B, T, S) too. Rows of local-m sum to 1; those of local-p, as in the paper, to what the Gaussian
/// leaves. Where the window holds no kept key (a step far behind the sentence's end), context and
/// weights are 0. The window's borders have no gradient. local-m's state is the number of the step,
/// i64 (B K). Parameters: those of the score, and for local-p position_proj.weight (A, Cq) and
/// position (A). ValueError if D < 1 or, for local-p, A < 1.
class LocalAttention : public StepAttention {
  bool predictive_;
  std::int64_t window_;
  AttentionWeights weights_;

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
