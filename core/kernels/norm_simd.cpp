#include <fovea/core/kernels/norm.h>
#include <fovea/core/kernels/row_sums.h>

#include <limits>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// Squares within these bounds have neither overflowed nor lost digits.
template <class T>
FOVEA_INLINE bool in_range(T square) {
  constexpr T low = sizeof(T) == sizeof(float) ? T(0x1p-100) : T(0x1p-200) * T(0x1p-700);
  return (square > low) & (square < 1 / low);
}

// True if the rounding error of the mean, about 2^-22 of it, is small relative to the deviation.
template <class T>
FOVEA_INLINE bool mean_is_exact(T mean, T variance, T eps) {
  const T square = mean * mean;
  return (variance >= T(0x1p-34) * square) & (variance + eps >= T(0x1p-20) * square);
}

// Two passes on purpose: mean(x^2) - mean(x)^2 cancels when the mean is large.
template <class T>
void layer_norm(const T* x, const T* g, const T* b, T eps, int64_t rows, int64_t C, T* y, T* mu,
                T* r) {
  const T n = static_cast<T>(C);
  for (int64_t row = 0; row < rows; ++row, x += C, y += C) {
    const T mean = row_sum<T>(C, [&](int64_t c) { return x[c]; }) / n;
    const T var = row_sum<T>(C, [&](int64_t c) { return (x[c] - mean) * (x[c] - mean); }) / n;
    const T scale = 1 / square_root(var + eps);
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) y[c] = g[c] * ((x[c] - mean) * scale) + b[c];
    mu[row] = mean;
    r[row] = scale;
    const bool exact = mean_is_exact(mean, var, eps);
    if (!(in_range(var + eps) && exact)) [[unlikely]]
      layer_norm_wide(x, g, b, eps, C, y, mu + row, r + row);
  }
}

template <class T>
void layer_norm_backward(const T* x, const T* g, const T* mu, const T* r, const T* dy, int64_t rows,
                         int64_t C, T* dx, T* dg, T* db) {
  const T n = static_cast<T>(C);
  for (int64_t row = 0; row < rows; ++row, x += C, dy += C, dx += C) {
    const T mean = mu[row], scale = r[row], ratio = mean * scale;
    if (!in_range(scale * scale) | (ratio * ratio > T(0x1p20))) [[unlikely]] {  // as in the forward
      layer_norm_backward_wide(x, g, scale, dy, C, dx, dg, db);
      continue;
    }
    T sum_d = 0, sum_dh = 0;
#pragma omp simd reduction(+ : sum_d, sum_dh)
    for (int64_t c = 0; c < C; ++c) {
      const T h = (x[c] - mean) * scale;
      const T d = g[c] * dy[c];
      sum_d += d;
      sum_dh += d * h;
      dg[c] += dy[c] * h;
      db[c] += dy[c];
    }
    const T mean_d = sum_d / n, mean_dh = sum_dh / n;
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) {
      const T h = (x[c] - mean) * scale;
      dx[c] = scale * (g[c] * dy[c] - mean_d - h * mean_dh);
    }
  }
}

template <class T>
void rms_norm(const T* x, const T* g, T eps, int64_t rows, int64_t C, T* y, T* r) {
  const T n = static_cast<T>(C);
  for (int64_t row = 0; row < rows; ++row, x += C, y += C) {
    const T mean_square = row_sum<T>(C, [&](int64_t c) { return x[c] * x[c]; }) / n;
    const T scale = 1 / square_root(mean_square + eps);
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) y[c] = g[c] * (x[c] * scale);
    r[row] = scale;
    if (!in_range(mean_square + eps)) [[unlikely]]
      rms_norm_wide(x, g, eps, C, y, r + row);
  }
}

template <class T>
void rms_norm_backward(const T* x, const T* g, const T* r, const T* dy, int64_t rows, int64_t C,
                       T* dx, T* dg) {
  const T n = static_cast<T>(C);
  for (int64_t row = 0; row < rows; ++row, x += C, dy += C, dx += C) {
    const T scale = r[row];
    if (scale < std::numeric_limits<T>::min()) [[unlikely]] {  // denormal: eps is negligible
      rms_norm_backward_wide(x, g, dy, C, dx, dg);
      continue;
    }
    T sum_dh = 0;
#pragma omp simd reduction(+ : sum_dh)
    for (int64_t c = 0; c < C; ++c) {
      const T h = x[c] * scale;
      sum_dh += g[c] * dy[c] * h;
      dg[c] += dy[c] * h;
    }
    const T mean_dh = sum_dh / n;
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) dx[c] = scale * (g[c] * dy[c] - x[c] * scale * mean_dh);
  }
}

template <class T>
constexpr NormRows<T> rows_of = {
    .layer_norm = layer_norm<T>,
    .layer_norm_backward = layer_norm_backward<T>,
    .rms_norm = rms_norm<T>,
    .rms_norm_backward = rms_norm_backward<T>,
};

}  // namespace

extern const NormTable norm_table;
const NormTable norm_table = {.f32 = rows_of<float>, .f64 = rows_of<double>};

}  // namespace fovea::kernels::FOVEA_ISA
