#include <fovea/core/kernels/linear_attention.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
void add_outer(int64_t D, int64_t W, const T* b, const T* c, T* M) {
  for (int64_t d = 0; d < D; ++d, M += W) {
    const T factor = b[d];
#pragma omp simd
    for (int64_t w = 0; w < W; ++w) M[w] += factor * c[w];
  }
}

template <class T>
void row_times(int64_t D, int64_t W, const T* a, const T* M, T* y) {
#pragma omp simd
  for (int64_t w = 0; w < W; ++w) y[w] = 0;
  for (int64_t d = 0; d < D; ++d, M += W) {
    const T factor = a[d];
#pragma omp simd
    for (int64_t w = 0; w < W; ++w) y[w] += factor * M[w];
  }
}

template <class T>
constexpr LinearLoops<T> loops_for = {.add_outer = add_outer<T>, .row_times = row_times<T>};

}  // namespace

extern const LinearTable linear_table;
const LinearTable linear_table = {.f32 = loops_for<float>, .f64 = loops_for<double>};

}  // namespace fovea::kernels::FOVEA_ISA
