// Location-aware attention: the weights of a step depend on the weights of the step before.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/linear.h>

namespace fovea::nn {

struct LocationAwareAttentionOptions {
  std::int64_t query_dim;
  std::int64_t key_dim;
  std::int64_t attention_dim;  ///< A, the width of the hidden layer of the score
  std::int64_t filters = 10;   ///< k
  std::int64_t radius = 10;    ///< r: each filter is 2r + 1 positions wide
  AttentionNormalizer weights = AttentionNormalizer::softmax;
};

/// Location-aware attention (Chorowski et al. 2015, Attention-Based Models for Speech Recognition,
/// section 2.2), one query per step:
///   f_t = F * a_{t-1}, convolution with k filters over the positions, zero padding
///   e_ts = w . tanh(W q_t + V k_s + U f_ts + b),   a_t = softmax(e_t),   c_t = sum_s a_ts x_s
/// query: (B, T, query_dim)  key: (B, S, key_dim)  value: (B, S, C)  ->  (B, T, C);
/// forward_with_weights() also returns the weights (B, T, S). The state is a_{t-1}, (B K, S), zeros
/// before the first step; gradients flow through it. A query with all keys masked has context and
/// weights 0, and the next step starts from these weights. Parameters: query_proj.weight (A, Cq),
/// key_proj.weight (A, Ck), key_proj.bias (A), location_conv (k, 2r + 1), location_proj.weight
/// (A, k), score (A). ValueError if k < 1, r < 0 or a width is below 1, StateError for a state of
/// another shape.
class LocationAwareAttention : public DecoderAttention {
  std::int64_t radius_;
  AttentionNormalizer weights_;

 public:
  LocationAwareAttention(LocationAwareAttentionOptions options, Rng& rng);
  void visit(Visitor& v) override;

  std::vector<Tensor> initial_state(const AttentionMemory& memory) const override;

  /// f: k features of every position.   weights: (N, S) -> (N, S, k)
  Tensor location_features(const Tensor& weights) const;

  Linear query_proj, key_proj;
  Tensor location_conv;  ///< F (k, 2r + 1): tap j reads position s + j - r, as PyTorch's Conv1d
  Linear location_proj;  ///< U
  Tensor score;          ///< w (A)

 protected:
  Tensor project(const Tensor& key) const override;
  AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                       std::vector<Tensor>& state) const override;
};

}  // namespace fovea::nn
