// C = alpha A B^T + beta C + bias by dot products of rows (gemm_dots_simd.cpp): an entry of the
// table in gemm_kernels.h. For *_simd.cpp files only.
#pragma once

#include <cstdint>

namespace fovea::kernels::FOVEA_ISA {

// A: (M, K)  B: (N, K)  C: (M, N). An element depends bitwise only on its two rows, its bias and
// its old value, not on its position. gemm() does not guarantee that: it chooses loops by size.
void dots(int64_t M, int64_t N, int64_t K, float alpha, const float* a, int64_t a_stride,
          const float* b, int64_t b_stride, float beta, const float* bias, float* c,
          int64_t c_stride);
void dots(int64_t M, int64_t N, int64_t K, double alpha, const double* a, int64_t a_stride,
          const double* b, int64_t b_stride, double beta, const double* bias, double* c,
          int64_t c_stride);

}  // namespace fovea::kernels::FOVEA_ISA
