// Additive attention.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

struct AttentionOutput {
  Tensor context;  ///< (B, T, C)
  Tensor weights;  ///< (B, T, S); each row sums to 1, or is all 0 if the mask allows no key
};

/// Additive attention (Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to
/// Align and Translate, appendix A.1.2), in one fused pass:
///   e_ts = v . tanh(q_t + k_s),   a_t = softmax(e_t) over the attended keys,   c_t = sum_s a_ts
///   x_s queries: (B, T, A)   keys: (B, S, A), both already projected   v: (A)   values: (B, S, C)
/// Gradients flow through both outputs. No (B, T, S, A) tensor is saved: the backward recomputes
/// the tanh. A query that attends no key has context 0, weights 0 and gradient 0. A NaN or infinity
/// in a key or value affects only the queries that attend it. ShapeError, DTypeError.
AttentionOutput additive_attention(const Tensor& queries, const Tensor& keys, const Tensor& v,
                                   const Tensor& values, const Mask& mask);

/// Reference implementation in plain ops, with the full (B, T, S, A) tensor.
AttentionOutput additive_attention_reference(const Tensor& queries, const Tensor& keys,
                                             const Tensor& v, const Tensor& values,
                                             const Mask& mask);

}  // namespace fovea
