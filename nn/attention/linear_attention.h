// Linear attention: cost O(T) instead of O(T S).
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/attention/attention.h>
#include <fovea/nn/linear.h>

#include <optional>

namespace fovea::nn {

struct LinearAttentionOptions {
  std::int64_t query_dim;        ///< Cq
  std::int64_t key_dim;          ///< Ck; without projections equal to Cq
  std::int64_t feature_dim = 0;  ///< D, width of the query and key projections; 0: no projections
};

/// Linear attention (Katharopoulos et al. 2020, Transformers are RNNs, section 3), one head:
///   a_ts = phi(W_q q_t) . phi(W_k k_s) / sum_s' phi(W_q q_t) . phi(W_k k_s')
///   c_t = sum_s a_ts x_s,   phi(x) = elu(x) + 1
/// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  (B, T, C), computed by running sums,
/// causal or not. A query with all keys masked gets 0. Supports the masks of linear_attention()
/// (core/ops/linear_attention.h): lengths, causal, prefix_lm and their combinations with &;
/// ValueError for other masks and for a feature_dim below 0; ShapeError. The weights a are computed
/// only for observers.
class LinearAttention : public Attention {
 public:
  LinearAttention(LinearAttentionOptions options, Rng& rng);
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  void visit(Visitor& v) override;

  std::optional<Linear> query_proj, key_proj;  ///< without bias; empty if feature_dim is 0
};

}  // namespace fovea::nn
