// How the weights of a product with few rows are split into tasks.
#pragma once

#include <fovea/core/kernels/float_mode.h>

#include <algorithm>
#include <cstdint>

namespace fovea::kernels {

// Measured: what one thread reads from L3 in the time it takes to start another.
constexpr int64_t kWeightsPerPart = 32 * 1024;
constexpr int64_t kMaxParts = 16;  // each produces a partial result that has to be added

// `units` (hidden units, heads) with `weights` elements each, split into equal parts. The split
// depends on sizes only.
struct WeightParts {
  int64_t units, size, count;

  WeightParts(int64_t all, int64_t weights) : units(all) {
    const int64_t wanted =
        std::clamp<int64_t>(all * weights / kWeightsPerPart, 1, std::min(kMaxParts, all));
    size = (all + wanted - 1) / wanted;
    count = (all + size - 1) / size;
  }
  int64_t begin(int64_t part) const { return part * size; }
  int64_t end(int64_t part) const { return std::min(units, (part + 1) * size); }
};

// y = sum of the partial results, in order, + bias.    shares: (parts, rows, width)
template <class T>
void add_shares(int64_t parts, int64_t rows, int64_t width, const T* shares, const T* bias, T* y) {
  const FloatMode mode;
  const int64_t n = rows * width;
  std::copy_n(shares, n, y);
  for (int64_t part = 1; part < parts; ++part) {
    const T* const share = shares + part * n;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] += share[i];
  }
  if (!bias) return;
  for (int64_t row = 0; row < rows; ++row, y += width) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) y[i] += bias[i];
  }
}

}  // namespace fovea::kernels
