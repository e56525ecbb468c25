// Tensors as text, in the format of NumPy and PyTorch:
//
//   tensor([[1.0000, 2.0000],
//           [3.0000, 4.0000]], shape (2, 2), f32)
#pragma once

#include <fovea/core/tensor.h>

#include <cstdint>
#include <string>

namespace fovea {

struct PrintOptions {
  int precision = 4;  ///< digits after the decimal point
  /// With more elements than this, only edge_items at each end of every axis are shown.
  std::int64_t threshold = 1000;
  std::int64_t edge_items = 3;
  std::int64_t line_width = 80;  ///< longer rows are wrapped
};

/// Columns are aligned. Floating-point values are in fixed-point notation, or all in scientific
/// notation if fixed point would hide digits: if one is 1e8 or more, one is below 1e-4, or they
/// differ by more than a factor of 1000.
std::string to_string(const Tensor& x, const PrintOptions& options = {});

}  // namespace fovea
