// Additive attention as an op.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

struct AttentionOutput {
  Tensor context;  ///< (B, T, C)
  Tensor weights;  ///< (B, T, S); rows sum to 1, or are all 0 where nothing is kept
};

/// Additive attention (Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to
/// Align and Translate, appendix A.1.2), in one fused pass:
///   e_ts = v . tanh(q_t + k_s),   a_t = softmax(e_t) over the kept keys,   c_t = sum_s a_ts x_s
/// queries: (B, T, A)  keys: (B, S, A), both projected already  v: (A)  values: (B, S, C)
/// Gradients flow through both outputs. Keeps no (B, T, S, A) tensor: the tanh is computed again.
/// A query that keeps no key has context 0, weights 0 and gradient 0. A NaN or infinity in a key or
/// value reaches only the queries that keep it. ShapeError, DTypeError.
AttentionOutput additive_attention(const Tensor& queries, const Tensor& keys, const Tensor& v,
                                   const Tensor& values, const Mask& mask);

/// The definition in plain ops, with the (B, T, S, A) tensor written out.
AttentionOutput additive_attention_reference(const Tensor& queries, const Tensor& keys,
                                             const Tensor& v, const Tensor& values,
                                             const Mask& mask);

}  // namespace fovea
