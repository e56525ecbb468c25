// The feed-forward network of a Transformer layer.
//
// C width, F hidden units.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

enum class Activation { relu, gelu, swiglu };

struct FeedForwardWeights {
  Tensor w1, b1;  ///< (F, C), (F); biases may be undefined
  Tensor w2, b2;  ///< (C, F), (C)
  Tensor w3, b3;  ///< (F, C), (F); for swiglu only, else undefined
};

/// y = W2 f(W1 x + b1) + b2 with f = relu or gelu;   with swiglu
/// y = W2 (silu(W1 x + b1) (W3 x + b3)) + b2                        x: (..., C)  ->  (..., C)
/// Under NoGrad and for at most 8 rows (token-by-token decoding) it is one pass over the weights,
/// else the composition of plain ops. Vaswani et al. 2017, section 3.3; Shazeer 2020, GLU Variants
/// Improve Transformer, eq. 6. ShapeError, DTypeError; ValueError for swiglu without w3, and for w3
/// without swiglu.
Tensor feed_forward(const Tensor& x, Activation activation, const FeedForwardWeights& weights);

/// True if feed_forward computes this x in one pass over the weights. If false, a layer may as well
/// call its named submodules.
bool feed_forward_in_one_pass(const Tensor& x);

/// Reference implementation in plain ops.
Tensor feed_forward_reference(const Tensor& x, Activation activation,
                              const FeedForwardWeights& weights);

}  // namespace fovea
