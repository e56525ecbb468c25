// Checks for finite and for zero elements, for ops that recompute a non-finite result more
// carefully.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// True in a dry run, which has no values.   x: f32 or f64
bool all_finite(const Tensor& x);
/// False in a dry run.
bool all_zero(const Tensor& x);

}  // namespace fovea::detail
