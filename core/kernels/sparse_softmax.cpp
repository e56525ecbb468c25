#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/sparse_softmax.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace fovea::kernels {
namespace {

// tau of sparsemax.   z: descending. The support is the longest prefix with 1 + k z_k > sum z.
double sparsemax_threshold(const std::vector<double>& z) {
  double sum = 0, tau = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const auto k = static_cast<double>(i + 1);
    sum += z[i];
    if (!(1 + k * z[i] > sum)) break;
    tau = (sum - 1) / k;
  }
  return tau;
}

// tau of entmax-1.5.   z: descending, already halved. With mean m and sum of squared deviations v
// of the k largest (Welford 1962), tau = m - sqrt((1 - v) / k); the support is the longest prefix
// above its tau.
double entmax15_threshold(const std::vector<double>& z) {
  double mean = 0, deviation = 0, tau = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const auto k = static_cast<double>(i + 1);
    const double step = z[i] - mean;
    mean += step / k;
    deviation += step * (z[i] - mean);
    const double candidate = mean - std::sqrt(std::max(0.0, (1 - deviation) / k));
    if (!(candidate <= z[i])) break;
    tau = candidate;
  }
  return tau;
}

// One row. `z` is scratch: the elements that may be in the support, less than 1 below the largest
// after entmax's halving (further apart, the largest would have y > 1).
template <class T>
void one_row(SparseSoftmax kind, const T* x, const bool* keep, int64_t n, T* y,
             std::vector<double>& z) {
  const double scale = kind == SparseSoftmax::entmax15 ? 0.5 : 1;
  double top = -std::numeric_limits<double>::infinity();
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    if (keep && !keep[i]) continue;
    finite = finite && x[i] < std::numeric_limits<T>::infinity();  // false for NaN
    top = std::max(top, static_cast<double>(x[i]));
  }
  const bool nothing = top == -std::numeric_limits<double>::infinity();
  if (!finite || nothing) {
    const T fill = finite && keep ? T(0) : std::numeric_limits<T>::quiet_NaN();
    for (int64_t i = 0; i < n; ++i) y[i] = keep && !keep[i] ? T(0) : fill;
    return;
  }
  const auto height = [&](int64_t i) { return scale * (static_cast<double>(x[i]) - top); };
  z.clear();
  for (int64_t i = 0; i < n; ++i)
    if ((!keep || keep[i]) && height(i) > -1) z.push_back(height(i));
  std::sort(z.begin(), z.end(), std::greater<>());
  const bool squares = kind == SparseSoftmax::entmax15;
  const double tau = squares ? entmax15_threshold(z) : sparsemax_threshold(z);
  for (int64_t i = 0; i < n; ++i) {
    const double above = !keep || keep[i] ? std::max(0.0, height(i) - tau) : 0.0;
    y[i] = static_cast<T>(squares ? above * above : above);
  }
}

}  // namespace

template <class T>
void sparse_softmax(SparseSoftmax kind, const T* x, const bool* keep, int64_t rows, int64_t n,
                    T* y) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    std::vector<double> z;
    for (int64_t row = first; row < first + count; ++row)
      one_row(kind, x + row * n, keep ? keep + row * n : nullptr, n, y + row * n, z);
  });
}

template <class T>
void sparse_softmax_backward(SparseSoftmax kind, const T* y, const T* dy, int64_t rows, int64_t n,
                             T* dx) {
  const auto weight = [kind](T p) {
    if (p == 0) return 0.0;  // NaN propagates
    return kind == SparseSoftmax::entmax15 ? std::sqrt(static_cast<double>(p)) : 1.0;
  };
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    for (int64_t row = first; row < first + count; ++row) {
      const T *p = y + row * n, *d = dy + row * n;
      double total = 0, product = 0;
      for (int64_t i = 0; i < n; ++i) {
        if (p[i] == 0) continue;  // outside the support dy is ignored
        total += weight(p[i]);
        product += weight(p[i]) * static_cast<double>(d[i]);
      }
      const double mean = total == 0 ? 0 : product / total;
      for (int64_t i = 0; i < n; ++i)
        dx[row * n + i] =
            p[i] == 0 ? T(0) : static_cast<T>(weight(p[i]) * (static_cast<double>(d[i]) - mean));
    }
  });
}

#define FOVEA_INSTANTIATE(T)                                                                \
  template void sparse_softmax(SparseSoftmax, const T*, const bool*, int64_t, int64_t, T*); \
  template void sparse_softmax_backward(SparseSoftmax, const T*, const T*, int64_t, int64_t, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
