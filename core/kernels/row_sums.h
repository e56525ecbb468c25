// Sums and maxima of one row, shared by the row-wise kernels (softmax, norm, loss).
// For *_simd.cpp files only, like vecmath.h.
#pragma once

#include <fovea/core/kernels/vecmath.h>

#include <cstdint>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// The largest of x[0..n), -inf for an empty row. NaNs are ignored: the caller meets them when it
// subtracts the maximum. One running maximum per lane, since clang 14 does not vectorize a float
// reduction.
template <class T>
FOVEA_INLINE T row_max(const T* x, int64_t n) {
  constexpr int64_t lanes = 64 / sizeof(T);
  T largest[lanes];
  for (T& place : largest) place = -static_cast<T>(__builtin_huge_val());
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma omp simd
    for (int64_t k = 0; k < lanes; ++k) largest[k] = x[i + k] > largest[k] ? x[i + k] : largest[k];
  }
  for (; i < n; ++i) largest[0] = x[i] > largest[0] ? x[i] : largest[0];
  for (int64_t half = lanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k) {
      const T other = largest[k + half];
      largest[k] = other > largest[k] ? other : largest[k];
    }
  return largest[0];
}

// term(0) + ... + term(n - 1), in blocks: the rounding error of a long row (e.g. a vocabulary of
// 50,000) then grows with the block length plus the number of blocks, not with n.
template <class T, class Term>
FOVEA_INLINE T row_sum(int64_t n, const Term& term) {
  constexpr int64_t block = 1024;
  T total = 0;
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t end = begin + block < n ? begin + block : n;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += term(i);
    total += sum;
  }
  return total;
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA
