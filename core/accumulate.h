// Adding up gradients, in place where nobody can see it.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// Whether nobody else can see these numbers, so that they may be added to in place.
bool is_exclusive(const Tensor& x);

/// sum += x, where an undefined sum is 0. Recorded, as an op of its own, where ops are recorded.
void accumulate(Tensor& sum, Tensor x);

}  // namespace fovea::detail
