// Tensors as text, in the manner of NumPy and PyTorch:
//
//   tensor([[1.0000, 2.0000],
//           [3.0000, 4.0000]], shape (2, 2), f32)
#pragma once

#include <fovea/core/tensor.h>

#include <cstdint>
#include <string>

namespace fovea {

struct PrintOptions {
  int precision = 4;  ///< digits after the point
  std::int64_t threshold =
      1000;  ///< with more elements than this, the middle of every axis is left out
  std::int64_t edge_items = 3;   ///< and so many are shown at both of its ends
  std::int64_t line_width = 80;  ///< rows longer than this are broken
};

/// Columns are aligned. Floating-point numbers are written with a fixed point, or all of them with
/// an exponent where that would hide digits: when one is 1e8 or more, one is below 1e-4, or they
/// differ by more than a factor of 1000.
std::string to_string(const Tensor& x, const PrintOptions& options = {});

}  // namespace fovea
