#include <fovea/core/kernels/norm.h>

#include <cmath>
#include <type_traits>

namespace fovea::kernels {
namespace {

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, long double>;

template <class T>
struct Moments {
  Wide<T> mean, variance;
};

// The mean is corrected once, so that the mean of equal elements is exact.
template <class T>
Moments<T> moments_of(const T* x, int64_t C) {
  using W = Wide<T>;
  const W n = static_cast<W>(C);
  W mean = 0, rest = 0, variance = 0;
  for (int64_t c = 0; c < C; ++c) mean += static_cast<W>(x[c]) / n;
  for (int64_t c = 0; c < C; ++c) rest += static_cast<W>(x[c]) - mean;
  mean += rest / n;
  for (int64_t c = 0; c < C; ++c) {
    const W d = static_cast<W>(x[c]) - mean;
    variance += d * d;
  }
  return {mean, variance / n};
}

}  // namespace

template <class T>
void layer_norm_wide(const T* x, const T* g, const T* b, T eps, int64_t C, T* y, T* mu, T* r) {
  using W = Wide<T>;
  const Moments<T> m = moments_of(x, C);
  const W scale = 1 / std::sqrt(m.variance + static_cast<W>(eps));
  for (int64_t c = 0; c < C; ++c)
    y[c] = static_cast<T>(g[c] * ((static_cast<W>(x[c]) - m.mean) * scale) + b[c]);
  *mu = static_cast<T>(m.mean);
  *r = static_cast<T>(scale);
}

// If r is so small that it has lost digits, eps is negligible relative to the variance.
template <class T>
void layer_norm_backward_wide(const T* x, const T* g, T r, const T* dy, int64_t C, T* dx, T* dg,
                              T* db) {
  using W = Wide<T>;
  const Moments<T> m = moments_of(x, C);
  const W n = static_cast<W>(C);
  const W scale = r < T(1e-15) ? 1 / std::sqrt(m.variance) : static_cast<W>(r);
  W sum_d = 0, sum_dh = 0;
  for (int64_t c = 0; c < C; ++c) {
    const W h = (static_cast<W>(x[c]) - m.mean) * scale, d = static_cast<W>(g[c]) * dy[c];
    sum_d += d;
    sum_dh += d * h;
    dg[c] += static_cast<T>(dy[c] * h);
    db[c] += dy[c];
  }
  for (int64_t c = 0; c < C; ++c) {
    const W h = (static_cast<W>(x[c]) - m.mean) * scale, d = static_cast<W>(g[c]) * dy[c];
    dx[c] = static_cast<T>(scale * (d - sum_d / n - h * (sum_dh / n)));
  }
}

template <class T>
void rms_norm_wide(const T* x, const T* g, T eps, int64_t C, T* y, T* r) {
  using W = Wide<T>;
  W squares = 0;
  for (int64_t c = 0; c < C; ++c) squares += static_cast<W>(x[c]) * static_cast<W>(x[c]);
  const W scale = 1 / std::sqrt(squares / static_cast<W>(C) + static_cast<W>(eps));
  for (int64_t c = 0; c < C; ++c) y[c] = static_cast<T>(g[c] * (static_cast<W>(x[c]) * scale));
  *r = static_cast<T>(scale);
}

template <class T>
void rms_norm_backward_wide(const T* x, const T* g, const T* dy, int64_t C, T* dx, T* dg) {
  using W = Wide<T>;
  const W n = static_cast<W>(C);
  W squares = 0, sum_dh = 0;
  for (int64_t c = 0; c < C; ++c) squares += static_cast<W>(x[c]) * static_cast<W>(x[c]);
  const W scale = 1 / std::sqrt(squares / n);
  for (int64_t c = 0; c < C; ++c) {
    const W h = static_cast<W>(x[c]) * scale;
    sum_dh += static_cast<W>(g[c]) * dy[c] * h;
    dg[c] += static_cast<T>(dy[c] * h);
  }
  for (int64_t c = 0; c < C; ++c) {
    const W h = static_cast<W>(x[c]) * scale, d = static_cast<W>(g[c]) * dy[c];
    dx[c] = static_cast<T>(scale * (d - h * (sum_dh / n)));
  }
}

#define FOVEA_NORM_WIDE(T)                                                                      \
  template void layer_norm_wide(const T*, const T*, const T*, T, int64_t, T*, T*, T*);          \
  template void layer_norm_backward_wide(const T*, const T*, T, const T*, int64_t, T*, T*, T*); \
  template void rms_norm_wide(const T*, const T*, T, int64_t, T*, T*);                          \
  template void rms_norm_backward_wide(const T*, const T*, const T*, int64_t, T*, T*);
FOVEA_NORM_WIDE(float)
FOVEA_NORM_WIDE(double)
#undef FOVEA_NORM_WIDE

}  // namespace fovea::kernels
