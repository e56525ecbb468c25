#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/norm.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>

namespace fovea::kernels {

// One per build of norm_simd.cpp.
namespace baseline {
extern const NormTable norm_table;
}
namespace v3 {
extern const NormTable norm_table;
}
namespace v4 {
extern const NormTable norm_table;
}

namespace {

template <class T>
const NormRows<T>& loops() {
  return loops_of<T>(pick(baseline::norm_table, v3::norm_table, v4::norm_table));
}

// Rows that share one partial sum: at most 64 such groups, each large enough for a thread.
int64_t rows_per_group(int64_t rows, int64_t C) {
  return std::max(row_grain(C), chunk_count(rows, 64));
}

// Calls f(first_row, row_count, sums) for every group of rows, with sums = `width` zeros in
// `partial`. The total, added in the order of the groups, is in partial[0..width).
template <class T, class F>
void sum_over_rows(int64_t rows, int64_t C, int64_t width, T* partial, const F& f) {
  const FloatMode mode;
  std::fill(partial, partial + width, T{0});  // the sum over zero rows
  const int64_t grain = rows_per_group(rows, C);
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    T* sums = partial + begin / grain * width;
    std::fill(sums, sums + width, T{0});
    f(begin, end - begin, sums);
  });
  for (int64_t group = 1; group < chunk_count(rows, grain); ++group)
    for (int64_t i = 0; i < width; ++i) partial[i] += partial[group * width + i];
}

}  // namespace

int64_t norm_partial_size(int64_t rows, int64_t C) {
  return std::max<int64_t>(1, chunk_count(rows, rows_per_group(rows, C))) * 2 * C;
}

template <class T>
void layer_norm(const T* x, const T* g, const T* b, T eps, int64_t rows, int64_t C, T* y, T* mu,
                T* r) {
  for_rows(rows, C, [&](int64_t first, int64_t count) {
    const int64_t at = first * C;
    loops<T>().layer_norm(x + at, g, b, eps, count, C, y + at, mu + first, r + first);
  });
}

template <class T>
void layer_norm_backward(const T* x, const T* g, const T* mu, const T* r, const T* dy, int64_t rows,
                         int64_t C, T* dx, T* dg, T* db, T* partial) {
  if (dry_run) return;
  sum_over_rows(rows, C, 2 * C, partial, [&](int64_t first, int64_t count, T* sums) {
    const int64_t at = first * C;
    loops<T>().layer_norm_backward(x + at, g, mu + first, r + first, dy + at, count, C, dx + at,
                                   sums, sums + C);
  });
  std::copy(partial, partial + C, dg);
  std::copy(partial + C, partial + 2 * C, db);
}

template <class T>
void rms_norm(const T* x, const T* g, T eps, int64_t rows, int64_t C, T* y, T* r) {
  for_rows(rows, C, [&](int64_t first, int64_t count) {
    const int64_t at = first * C;
    loops<T>().rms_norm(x + at, g, eps, count, C, y + at, r + first);
  });
}

template <class T>
void rms_norm_backward(const T* x, const T* g, const T* r, const T* dy, int64_t rows, int64_t C,
                       T* dx, T* dg, T* partial) {
  if (dry_run) return;
  sum_over_rows(rows, C, C, partial, [&](int64_t first, int64_t count, T* sums) {
    const int64_t at = first * C;
    loops<T>().rms_norm_backward(x + at, g, r + first, dy + at, count, C, dx + at, sums);
  });
  std::copy(partial, partial + C, dg);
}

#define FOVEA_NORM(T)                                                                           \
  template void layer_norm(const T*, const T*, const T*, T, int64_t, int64_t, T*, T*, T*);      \
  template void layer_norm_backward(const T*, const T*, const T*, const T*, const T*, int64_t,  \
                                    int64_t, T*, T*, T*, T*);                                   \
  template void rms_norm(const T*, const T*, T, int64_t, int64_t, T*, T*);                      \
  template void rms_norm_backward(const T*, const T*, const T*, const T*, int64_t, int64_t, T*, \
                                  T*, T*);
FOVEA_NORM(float)
FOVEA_NORM(double)
#undef FOVEA_NORM

}  // namespace fovea::kernels
