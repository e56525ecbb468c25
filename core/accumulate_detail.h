// Sums of gradients, in place where no other tensor shares the storage.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// Whether no other tensor shares these values: x may then be modified in place.
bool is_exclusive(const Tensor& x);

/// sum += x; an undefined sum counts as 0. Recorded as the op "accumulate" if grad is enabled.
void accumulate(Tensor& sum, Tensor x);

}  // namespace fovea::detail
