// Rotary position embedding: tables of angles, and rotation of rows. T is float or double.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// cos and sin of positions[n] base^(-i / pairs), computed in double.    positions: (n)
// table: (n, 2, pairs), the cosines of a position, then its sines
template <class T>
void rope_angles(const int64_t* positions, int64_t n, int64_t pairs, double base, T* table);

// (batch, head, position, width) with dense rows; strides in elements.
struct RopeLayout {
  int64_t b_stride, h_stride, t_stride;
};
struct RopeSizes {
  int64_t B, H, T, D;
  int64_t pairs;  // rotated: the first 2 pairs of D; the others are copied
  // Pair i is elements (i * pair_stride, i * pair_stride + other).
  int64_t pair_stride, other;
  bool table_per_row;  // table: (B, T, 2, pairs), else (T, 2, pairs)
};

// y = x rotated by the table's angles, or by their negatives.
template <class T>
void rope(const RopeSizes& sizes, const T* x, const RopeLayout& x_layout, const T* table,
          bool backwards, T* y, const RopeLayout& y_layout);

}  // namespace fovea::kernels
