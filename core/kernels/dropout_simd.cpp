#include <fovea/core/kernels/dropout.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T, class F>
[[gnu::always_inline]] inline void drop(const T* x, int64_t n, int32_t threshold,
                                        const PhiloxOrigin& origin, T* y, const F& kept) {
  constexpr int64_t batch = 4 * kPhiloxBatch;
  uint32_t words[batch];
  for (int64_t begin = 0; begin < n; begin += batch) {
    philox_blocks(origin, static_cast<uint64_t>(begin / 4), words);
    const int64_t count = n - begin < batch ? n - begin : batch;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i)
      y[begin + i] = static_cast<int32_t>(words[i] >> 8) < threshold ? 0 : kept(x[begin + i]);
  }
}

template <class T>
void dropout(const T* x, int64_t n, int32_t threshold, T scale, const PhiloxOrigin& origin, T* y) {
  drop(x, n, threshold, origin, y, [=](T v) { return v * scale; });
}

template <class T>
void relu_dropout(const T* x, int64_t n, int32_t threshold, T scale, const PhiloxOrigin& origin,
                  T* y) {
  drop(x, n, threshold, origin, y, [=](T v) { return (v < 0 ? 0 : v) * scale; });
}

template <class T>
void relu_dropout_backward(const T* y, const T* dy, int64_t n, T scale, T* dx) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] <= 0 ? 0 : dy[i] * scale;
}

template <class T>
constexpr DropoutLoops<T> loops_for = {.dropout = dropout<T>,
                                       .relu_dropout = relu_dropout<T>,
                                       .relu_dropout_backward = relu_dropout_backward<T>};

}  // namespace

extern const DropoutTable dropout_table;
const DropoutTable dropout_table = {.f32 = loops_for<float>, .f64 = loops_for<double>};

}  // namespace fovea::kernels::FOVEA_ISA
