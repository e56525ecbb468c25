// A dense tensor as a matrix of rows: how the row-wise ops (softmax, norm) hand it to their
// kernels.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// Up to so many rows one pass over a layer's weights (feed_forward, attention_step) is faster;
/// beyond, packing them pays.
inline constexpr std::int64_t few_rows = 8;

namespace detail {

/// The number of rows that x has when its last axis is one row; 0 if rows are empty.
inline std::int64_t row_count(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / x.dim(-1);
}

}  // namespace detail
}  // namespace fovea
