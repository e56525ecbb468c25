// A dense tensor as a matrix of rows: how the row-wise ops (softmax, norm) hand it to their
// kernels.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea::detail {

/// The number of rows that x has when its last axis is one row; 0 if rows are empty.
inline std::int64_t row_count(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / x.dim(-1);
}

}  // namespace fovea::detail
