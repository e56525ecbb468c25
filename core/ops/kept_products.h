// The two products of attention, of scores and of values, for the definitions in plain ops: what a
// query does not keep may be NaN or infinite, and reaches neither its row nor a gradient.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// q_t . k_s, and 0 where not kept.   q: (..., T, D)  k: (..., S, D)  ->  (..., T, S)
/// kept: bool, broadcast to the result; undefined: everything.
/// Where q or k is not finite, the products are taken pair by pair, in (..., T, S, D) memory.
Tensor kept_scores(const Tensor& q, const Tensor& k, const Tensor& kept);

/// x, for whose gradient an exact 0 means that x was not used: it goes no further, since 0 times a
/// NaN that was saved would be NaN.
Tensor skip_zero_gradient(const Tensor& x);

/// sum_s w_ts v_s over the kept s; pair by pair where the plain product is not finite.
///   weights: (..., T, S)  v: (..., S, E)  ->  (..., T, E)
Tensor kept_mixture(const Tensor& weights, const Tensor& v, const Tensor& kept);

}  // namespace fovea::detail
