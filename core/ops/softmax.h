// Softmax, its logarithm, and softmax under a mask.
//
// Each function has a reference implementation in plain ops, *_reference, which the tests compare
// with. T queries, S keys, B batch, H heads.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// y = exp(x) / sum exp(x) along `axis`. Slices that are all -inf, or contain NaN or +inf, give
/// NaN.
Tensor softmax(const Tensor& x, std::int64_t axis = -1);
Tensor softmax_reference(const Tensor& x, std::int64_t axis = -1);

/// y = x - log sum exp(x) along `axis`: log(softmax(x)) without its overflow and underflow. An
/// element of -inf has y = -inf, and does not change the others; NaN as for softmax.
Tensor log_softmax(const Tensor& x, std::int64_t axis = -1);
Tensor log_softmax_reference(const Tensor& x, std::int64_t axis = -1);

/// Softmax along `axis` over the elements with keep = true (bool, broadcast to x); the others have
/// value 0 and gradient 0, whatever the values of x and dy there. If no element is kept, or all
/// that are kept are -inf, the result is zeros with gradient zero.
Tensor masked_softmax(const Tensor& x, const Tensor& keep, std::int64_t axis = -1);
Tensor masked_softmax_reference(const Tensor& x, const Tensor& keep, std::int64_t axis = -1);

/// The same over the keys that a Mask allows for each query (and head, if there are heads).
///   x: (T, S), (B, T, S) or (B, H, T, S)
Tensor masked_softmax(const Tensor& x, const Mask& mask);

}  // namespace fovea
