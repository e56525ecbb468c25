// The two matrix products of attention (scores and output) for the reference implementations: NaN
// or infinity in a masked key or value affects neither the query's result nor a gradient.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// q_t . k_s, and 0 where masked.   q: (..., T, D)  k: (..., S, D)  ->  (..., T, S)
/// kept: bool, broadcast to the result, false where masked; undefined: nothing is masked.
/// If q or k is not finite, each pair is multiplied separately, in (..., T, S, D) memory.
Tensor kept_scores(const Tensor& q, const Tensor& k, const Tensor& kept);

/// Identity. In its backward, dy = 0 means that the element was not used and stops there: 0 times a
/// saved NaN would be NaN.
Tensor skip_zero_gradient(const Tensor& x);

/// sum_s w_ts v_s over the s that are not masked; pair by pair if the plain product is not finite.
///   weights: (..., T, S)  v: (..., S, E)  ->  (..., T, E)
Tensor kept_mixture(const Tensor& weights, const Tensor& v, const Tensor& kept);

}  // namespace fovea::detail
