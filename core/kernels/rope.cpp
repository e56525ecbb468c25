#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rope.h>
#include <fovea/core/kernels/rows.h>

#include <cmath>

namespace fovea::kernels {
namespace {

// The pairs of one row. `sign` is -1 for the inverse rotation.
template <class T>
void turn(const RopeSizes& n, const T* x, const T* cosines, const T* sines, T sign, T* y) {
  for (int64_t i = 0; i < n.pairs; ++i) {
    const int64_t at = i * n.pair_stride;
    const T a = x[at], b = x[at + n.other];
    const T c = cosines[i], s = sign * sines[i];
    y[at] = a * c - b * s;
    y[at + n.other] = a * s + b * c;
  }
}

}  // namespace

template <class T>
void rope_angles(const int64_t* positions, int64_t n, int64_t pairs, double base, T* table) {
  constexpr int64_t angles_per_task = 2048;
  const int64_t grain = std::max<int64_t>(1, angles_per_task / std::max<int64_t>(1, pairs));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double frequency = std::pow(base, -static_cast<double>(i) / static_cast<double>(pairs));
      for (int64_t row = begin; row < end; ++row) {
        const double angle = static_cast<double>(positions[row]) * frequency;
        table[2 * row * pairs + i] = static_cast<T>(std::cos(angle));
        table[(2 * row + 1) * pairs + i] = static_cast<T>(std::sin(angle));
      }
    }
  });
}

template <class T>
void rope(const RopeSizes& n, const T* x, const RopeLayout& from, const T* table, bool backwards,
          T* y, const RopeLayout& to) {
  const T sign = backwards ? T{-1} : T{1};
  parallel_for(n.B * n.T, row_grain(n.H * n.D), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / n.T, t = row % n.T;
      const T* const cosines = table + 2 * n.pairs * (n.table_per_row ? row : t);
      for (int64_t h = 0; h < n.H; ++h) {
        const T* const x_row = x + b * from.b_stride + h * from.h_stride + t * from.t_stride;
        T* const y_row = y + b * to.b_stride + h * to.h_stride + t * to.t_stride;
        turn(n, x_row, cosines, cosines + n.pairs, sign, y_row);
        for (int64_t d = 2 * n.pairs; d < n.D; ++d) y_row[d] = x_row[d];
      }
    }
  });
}

template void rope_angles(const int64_t*, int64_t, int64_t, double, float*);
template void rope_angles(const int64_t*, int64_t, int64_t, double, double*);
template void rope(const RopeSizes&, const float*, const RopeLayout&, const float*, bool, float*,
                   const RopeLayout&);
template void rope(const RopeSizes&, const double*, const RopeLayout&, const double*, bool, double*,
                   const RopeLayout&);

}  // namespace fovea::kernels
