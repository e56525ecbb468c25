// Checks for finite elements, for paths that recompute a non-finite result more carefully.
#pragma once

#include <cstdint>

namespace fovea::kernels {

template <class T>
bool all_finite(const T* x, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * T(0);  // NaN where x is infinite or NaN
  return sum == 0;
}

}  // namespace fovea::kernels
