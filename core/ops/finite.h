// Whether a tensor's numbers are finite, for ops that compute a result again with more care if not.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// True in a dry run, which has no numbers.   x: f32 or f64
bool all_finite(const Tensor& x);
/// False in a dry run.
bool all_zero(const Tensor& x);

}  // namespace fovea::detail
