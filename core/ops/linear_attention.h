// Linear attention: the weights are products of features, computed by sums over keys instead of a
// (T, S) matrix.
//
// B batch, T queries, S keys, D feature width, E value width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// The feature map of Katharopoulos et al. 2020, equation 7: phi(x) = elu(x) + 1, that is x + 1 for
/// x > 0 and exp(x) elsewhere; derivative 1 at 0.
Tensor elu_feature(const Tensor& x);

/// y_t = sum_{s < end_t} (q_t . k_s) v_s / sum_{s < end_t} q_t . k_s, for features q, k >= 0
///   q: (B, T, D)  k: (B, S, D)  v: (B, S, E)  ->  (B, T, E)
/// Katharopoulos et al. 2020, Transformers are RNNs, section 3: with M_t = sum_{s < end_t} k_s
/// v_s^T it is q_t^T M_t, so time is O((T + S) D E) and memory O(D E), also in the backward. For
/// each query `mask` must allow all keys before an end that does not decrease from query to query:
/// none, lengths, causal, prefix_lm, window without a left bound, and & of these; ValueError for
/// others. A query that attends no key, or whose weights are all 0, has output 0 and gradient 0. A
/// NaN or infinity in a key or value affects only the queries that attend it; under a mask, such a
/// query gives no gradient. ShapeError, DTypeError.
Tensor linear_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Mask& mask = Mask::none());

/// Reference implementation, with the full (B, T, S) weights; takes any mask.
Tensor linear_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Mask& mask = Mask::none());

/// The weights of queries [begin, end), detached: (B, end - begin, S). For inspection.
Tensor linear_attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                                std::int64_t begin, std::int64_t end);

}  // namespace fovea
