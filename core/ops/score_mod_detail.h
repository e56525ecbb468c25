// Checks of captured tensors, shared by the implementations of ScoreMod. For
// core/ops/score_mod*.cpp.
#pragma once

#include <fovea/core/ops/score_mod.h>

#include <string_view>

namespace fovea::detail {

/// ShapeError unless `x` is (B or 1, H or 1, ...), DTypeError unless it has the scores' dtype.
void check_captured(std::string_view op, const Tensor& x, std::int64_t B, std::int64_t H,
                    DType dtype);

/// Position of query 0 among the keys. ShapeError if T != S and no corner was given.
std::int64_t corner_shift(std::string_view op, Mask::Corner corner, std::int64_t T, std::int64_t S);

/// The number of queries in a reference() call; T < 0: the rows end with the last query.
inline std::int64_t query_count(const Tensor& scores, std::int64_t query_offset, std::int64_t T) {
  return T < 0 ? query_offset + scores.dim(2) : T;
}

/// 0 if the axis is broadcast.
inline std::int64_t broadcast_stride(const Tensor& x, std::int64_t axis) {
  return x.dim(axis) == 1 ? 0 : x.strides()[axis];
}

}  // namespace fovea::detail
