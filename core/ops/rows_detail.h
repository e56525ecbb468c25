// A dense tensor as a matrix of rows, for the kernels of row-wise ops (softmax, norm).
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// Up to this number of rows one pass over a layer's weights (feed_forward, attention_step) is
/// faster; above it, packing them is.
inline constexpr std::int64_t kFusedDecodeRows = 8;

namespace detail {

/// The number of rows of x, a row being its last axis; 0 if rows are empty.
inline std::int64_t row_count(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / x.dim(-1);
}

}  // namespace detail
}  // namespace fovea
