#include <fovea/core/kernels/row_sums.h>
#include <fovea/core/kernels/softmax.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
void scale_row(T factor, int64_t n, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= factor;
}

template <class T>
void softmax(const T* x, int64_t rows, int64_t n, T* y) {
  for (int64_t row = 0; row < rows; ++row, x += n, y += n) {
    const T largest = row_max(x, n);
    const T sum = row_sum<T>(n, [&](int64_t i) { return y[i] = exp(x[i] - largest); });
    scale_row(1 / sum, n, y);
  }
}

// Masked elements count as -inf. If all are -inf the shift is 0: exp(-inf + inf) would be NaN. The
// mask is read as bytes, for which GCC 12 makes twice as fast a loop as for bools.
template <class T>
void masked_softmax(const T* x, const bool* keep, int64_t rows, int64_t n, T* y) {
  const T lowest = -static_cast<T>(__builtin_huge_val());
  for (int64_t row = 0; row < rows; ++row, x += n, keep += n, y += n) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(keep);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = bytes[i] != 0 ? x[i] : lowest;
    const T largest = row_max(y, n);
    const T shift = largest == lowest ? 0 : largest;
    const T sum = row_sum<T>(n, [&](int64_t i) { return y[i] = exp(y[i] - shift); });
    scale_row(sum == 0 ? 0 : 1 / sum, n, y);
    if (sum != sum)  // of an unmasked NaN: it must not affect masked elements
      for (int64_t i = 0; i < n; ++i) y[i] = keep[i] ? y[i] : 0;
  }
}

// 0 where y = 0: dy of a masked element may be NaN.
template <class T>
void softmax_backward_of_kept(const T* y, const T* dy, int64_t n, T* dx) {
  T dot = 0;
  for (int64_t i = 0; i < n; ++i)
    if (y[i] != 0) dot += y[i] * dy[i];
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] == 0 ? 0 : y[i] * (dy[i] - dot);
}

template <class T>
void softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for (int64_t row = 0; row < rows; ++row, y += n, dy += n, dx += n) {
    const T dot = row_sum<T>(n, [&](int64_t i) { return y[i] * dy[i]; });
    if (dot != dot) {
      softmax_backward_of_kept(y, dy, n, dx);
      continue;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
  }
}

template <class T>
void log_softmax(const T* x, int64_t rows, int64_t n, T* y) {
  for (int64_t row = 0; row < rows; ++row, x += n, y += n) {
    const T largest = row_max(x, n);
    const T log_sum = log(row_sum<T>(n, [&](int64_t i) { return exp(x[i] - largest); }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - largest) - log_sum;
  }
}

template <class T>
void log_softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for (int64_t row = 0; row < rows; ++row, y += n, dy += n, dx += n) {
    const T sum = row_sum<T>(n, [&](int64_t i) { return dy[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] - exp(y[i]) * sum;
  }
}

template <class T>
constexpr SoftmaxRows<T> rows_of = {
    .softmax = softmax<T>,
    .masked_softmax = masked_softmax<T>,
    .softmax_backward = softmax_backward<T>,
    .log_softmax = log_softmax<T>,
    .log_softmax_backward = log_softmax_backward<T>,
};

}  // namespace

extern const SoftmaxTable softmax_table;
const SoftmaxTable softmax_table = {.f32 = rows_of<float>, .f64 = rows_of<double>};

}  // namespace fovea::kernels::FOVEA_ISA
