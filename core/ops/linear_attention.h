// Attention whose weights are products of features: sums over keys instead of a (T, S) matrix.
//
// B batch, T queries, S keys, D feature width, E value width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// The features of Katharopoulos et al. 2020, equation 7: phi(x) = elu(x) + 1, that is x + 1 above
/// 0 and exp(x) elsewhere; derivative 1 at 0.
Tensor elu_feature(const Tensor& x);

/// y_t = sum_{s < end_t} (q_t . k_s) v_s / sum_{s < end_t} q_t . k_s, for features q, k >= 0
///   q: (B, T, D)  k: (B, S, D)  v: (B, S, E)  ->  (B, T, E)
/// Katharopoulos et al. 2020, Transformers are RNNs, section 3: with M_t = sum_{s < end_t} k_s
/// v_s^T it is q_t^T M_t, so time is O((T + S) D E) and memory O(D E), in the backward too. `mask`
/// must keep, for each query, all keys before an end that does not go back from query to query:
/// none, lengths, causal, prefix_lm, window without a left border, and & of these; ValueError for
/// the others. A query that keeps no key, or has weight 0 for all, has output 0 and gradient 0. A
/// NaN or infinity in a key or value reaches only the queries that keep it; under a mask, such a
/// query gives no gradient. ShapeError, DTypeError.
Tensor linear_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Mask& mask = Mask::none());

/// The definition, with the (B, T, S) weights written out; takes any mask.
Tensor linear_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Mask& mask = Mask::none());

/// The weights of queries [begin, end), without history: (B, end - begin, S). For looking inside.
Tensor linear_attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                                std::int64_t begin, std::int64_t end);

}  // namespace fovea
