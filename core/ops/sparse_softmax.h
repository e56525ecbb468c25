// Sparse alternatives to softmax: most probabilities are exactly 0.
//
// All along the last axis. T queries, S keys, B batch, H heads.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// y = argmin_p |p - x|^2 over the probability simplex:   y_i = max(x_i - tau, 0), with tau such
/// that y sums to 1.   x, y: (..., S).   Martins and Astudillo 2016, From Softmax to Sparsemax,
/// algorithm 1. Rows that are all -inf, or contain NaN or +inf, give NaN.
Tensor sparsemax(const Tensor& x);
Tensor sparsemax_reference(const Tensor& x);

/// y_i = max(x_i / 2 - tau, 0)^2, with tau such that y sums to 1: between softmax (alpha = 1) and
/// sparsemax (alpha = 2).   x, y: (..., S).   Peters et al. 2019, Sparse Sequence-to-Sequence
/// Models, section 3 and algorithm 2. Rows as for sparsemax.
Tensor entmax15(const Tensor& x);
Tensor entmax15_reference(const Tensor& x);

/// The same over the elements with keep = true (bool, broadcast to x); the others are 0, whatever
/// the values of x there. If no element is kept, or all that are kept are -inf, the result is zeros
/// with gradient zero. DTypeError, ShapeError.
Tensor masked_sparsemax(const Tensor& x, const Tensor& keep);
Tensor masked_entmax15(const Tensor& x, const Tensor& keep);

/// The same over the keys that a Mask allows for each query.
///   x: (T, S), (B, T, S) or (B, H, T, S)
Tensor masked_sparsemax(const Tensor& x, const Mask& mask);
Tensor masked_entmax15(const Tensor& x, const Mask& mask);

}  // namespace fovea
