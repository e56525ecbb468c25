#include <fovea/core/kernels/finite.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/reduce.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fovea::kernels {

// One per build of reduce_simd.cpp.
namespace baseline {
extern const ReduceTable reduce_table;
}
namespace v3 {
extern const ReduceTable reduce_table;
}
namespace v4 {
extern const ReduceTable reduce_table;
}

namespace {

// Fewer elements than this do not justify starting a second thread.
constexpr int64_t parallel_grain = 32768;

template <class T>
const ReduceLoops<T>& loops() {
  const ReduceTable& table = pick(baseline::reduce_table, v3::reduce_table, v4::reduce_table);
  if constexpr (std::is_same_v<T, float>) {
    return table.f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return table.f64;
  } else {
    return table.i64;
  }
}

// The part of the block that one call of a loop processes.
struct Part {
  int64_t outer, first_row, rows, first_column, columns;
};

// Splits (outer, reduced, inner) into tiles of columns and chunks of at most `chunk_rows` >= 1
// rows, and calls f(part) on several threads. If reduced = 0 there is one chunk of 0 rows.
template <class F>
void for_parts(const ReduceSizes& s, int64_t chunk_rows, const F& f) {
  const int64_t chunks = std::max<int64_t>(1, chunk_count(s.reduced, chunk_rows));
  const int64_t tiles = chunk_count(s.inner, column_tile);
  const int64_t numbers = std::min(s.reduced, chunk_rows) * std::min(s.inner, column_tile);
  const int64_t grain = std::max<int64_t>(1, parallel_grain / std::max<int64_t>(1, numbers));
  parallel_for(s.outer * chunks * tiles, grain, [&](int64_t begin, int64_t end) {
    int64_t tile = begin % tiles, chunk = begin / tiles % chunks, outer = begin / (tiles * chunks);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = chunk * chunk_rows, column = tile * column_tile;
      f(Part{outer, row, std::min(chunk_rows, s.reduced - row), column,
             std::min(column_tile, s.inner - column)});
      if (++tile < tiles)
        continue;  // incremental: for short rows a division would take as long as the row
      tile = 0;
      if (++chunk < chunks) continue;
      chunk = 0;
      ++outer;
    }
  });
}

// ---- Sums --------------------------------------------------------------------------------------

// totals[j] = sum of the terms in column j of the part. `center` is (outer, inner) or null.
template <class T>
void sum_part(const SumLoops<T>& loop, const T* x, const ReduceSizes& s, const Part& part,
              const T* center, Total<T>* totals) {
  static constexpr T no_centre[column_tile] = {};
  x += (part.outer * s.reduced + part.first_row) * s.inner + part.first_column;
  const T* const c = center ? center + part.outer * s.inner + part.first_column : no_centre;
  if (s.inner == 1)
    *totals = loop.row(x, part.rows, *c);
  else
    loop.columns(x, part.rows, s.inner, part.columns, c, totals);
}

// y = finish(sum of the terms, y). Long columns are split into chunks whose totals are added in
// order. `center` may be y itself: an element of y is written after its last read.
template <class T, class Finish>
void reduce_terms(Term term, const T* x, const ReduceSizes& s, const T* center, T* y,
                  const Finish& finish) {
  const SumLoops<T>& loop = loops<T>().sums[static_cast<int>(term)];
  // At least 64 rows: the totals of the chunks then need little memory compared to x.
  const int64_t chunk_rows = std::max<int64_t>(64, parallel_grain / std::max<int64_t>(1, s.inner));
  const int64_t chunks = chunk_count(s.reduced, chunk_rows);
  if (chunks <= 1) {
    for_parts(s, chunk_rows, [&](const Part& part) {
      Total<T> totals[column_tile];
      sum_part(loop, x, s, part, center, totals);
      T* const to = y + part.outer * s.inner + part.first_column;
      for (int64_t j = 0; j < part.columns; ++j) to[j] = finish(totals[j], to[j]);
    });
    return;
  }
  if (dry_run) return;
  const FloatMode mode;
  std::vector<Total<T>> totals(static_cast<std::size_t>(s.outer * chunks * s.inner));
  for_parts(s, chunk_rows, [&](const Part& part) {
    const int64_t chunk = part.outer * chunks + part.first_row / chunk_rows;
    sum_part(loop, x, s, part, center, totals.data() + chunk * s.inner + part.first_column);
  });
  for (int64_t o = 0; o < s.outer; ++o) {
    for (int64_t j = 0; j < s.inner; ++j) {
      Total<T> total = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk)
        total += totals[static_cast<std::size_t>((o * chunks + chunk) * s.inner + j)];
      T& to = y[o * s.inner + j];
      to = finish(total, to);
    }
  }
}

// The sum of term(x) for one result, in a wider type than T.
template <class T, class F>
long double wide_sum(const T* x, const ReduceSizes& s, int64_t i, const F& term) {
  x += i / s.inner * s.reduced * s.inner + i % s.inner;
  long double total = 0;
  for (int64_t r = 0; r < s.reduced; ++r) total += term(static_cast<long double>(x[r * s.inner]));
  return total;
}

template <class T>
long double wide_sum(const T* x, const ReduceSizes& s, int64_t i) {
  return wide_sum(x, s, i, [](long double v) { return v; });
}

// Partial sums of large elements can overflow although the total does not: those are summed again.
// divisor: 1, or the count for a mean
template <class T>
void repair_overflow(const T* x, const ReduceSizes& s, double divisor, T* y) {
  const int64_t n = s.outer * s.inner;
  if (dry_run || all_finite(y, n)) return;
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(y[i])) y[i] = static_cast<T>(wide_sum(x, s, i) / divisor);
}

// The same for variances, also of elements with so little variation that the rounding of their mean
// matters. n: divisor of the sum of squares
template <class T>
void repair_variance(const T* x, const ReduceSizes& s, double n, T* y) {
  if (dry_run || s.reduced == 0) return;
  for (int64_t i = 0; i < s.outer * s.inner; ++i) {
    const auto first = static_cast<double>(x[i / s.inner * s.reduced * s.inner + i % s.inner]);
    if (std::isfinite(y[i]) && !(static_cast<double>(y[i]) < 0x1p-34 * first * first)) continue;
    const auto count = static_cast<long double>(s.reduced);
    long double mean = wide_sum(x, s, i) / count;
    mean += wide_sum(x, s, i, [mean](long double v) { return v - mean; }) / count;
    const auto square = [mean](long double v) { return (v - mean) * (v - mean); };
    y[i] = static_cast<T>(wide_sum(x, s, i, square) / n);
  }
}

// ---- Largest and smallest ----------------------------------------------------------------------

template <class T>
void find_extreme(const ExtremeLoops<T>& loop, const T* x, const ReduceSizes& s, T* y,
                  int64_t* index) {
  for_parts(s, s.reduced, [&](const Part& part) {
    const T* const from = x + part.outer * s.reduced * s.inner + part.first_column;
    const int64_t to = part.outer * s.inner + part.first_column;
    int64_t unwanted[column_tile];
    int64_t* const index_to = index ? index + to : unwanted;
    if (s.inner == 1)
      loop.row(from, s.reduced, y + to, index_to);
    else
      loop.columns(from, s.reduced, s.inner, part.columns, y + to, index_to);
  });
}

}  // namespace

template <class T>
void sum(const T* x, ReduceSizes sizes, T* y) {
  reduce_terms<T>(Term::x, x, sizes, nullptr, y,
                  [](Total<T> total, T) { return static_cast<T>(total); });
  if constexpr (std::is_floating_point_v<T>) repair_overflow(x, sizes, 1, y);
}

template <class T>
void mean(const T* x, ReduceSizes sizes, T* y) {
  const double n = static_cast<double>(sizes.reduced);
  reduce_terms<T>(Term::x, x, sizes, nullptr, y,
                  [n](double total, T) { return static_cast<T>(total / n); });
  repair_overflow(x, sizes, n, y);
}

template <class T>
void variance(const T* x, ReduceSizes sizes, double correction, T* y) {
  mean(x, sizes, y);
  const double n = std::max(0.0, static_cast<double>(sizes.reduced) - correction);
  reduce_terms<T>(Term::squared_deviation, x, sizes, y, y,
                  [n](double total, T) { return static_cast<T>(total / n); });
  repair_variance(x, sizes, n, y);
}

template <class T>
void logsumexp(const T* x, ReduceSizes sizes, T* y) {
  if (dry_run) return;
  const FloatMode mode;
  const int64_t n = sizes.outer * sizes.inner;
  if (sizes.reduced == 0) {
    std::fill_n(y, n, -std::numeric_limits<T>::infinity());
    return;
  }
  largest(x, sizes, y, nullptr);
  for (int64_t i = 0; i < n; ++i)  // inf - inf would be NaN
    if (!std::isfinite(y[i])) y[i] = 0;
  reduce_terms<T>(Term::exp_deviation, x, sizes, y, y,
                  [](double total, T shift) { return static_cast<T>(shift + std::log(total)); });
}

template <class T>
void largest(const T* x, ReduceSizes sizes, T* y, int64_t* index) {
  find_extreme(loops<T>().largest, x, sizes, y, index);
}

template <class T>
void smallest(const T* x, ReduceSizes sizes, T* y, int64_t* index) {
  find_extreme(loops<T>().smallest, x, sizes, y, index);
}

template <class T>
void cumsum(const T* x, ReduceSizes sizes, bool reverse, T* y) {
  if (sizes.reduced == 0) return;  // empty columns may be 2^48
  const int64_t step = reverse ? -sizes.inner : sizes.inner;
  for_parts(sizes, std::max<int64_t>(1, sizes.reduced), [&](const Part& part) {
    const int64_t first_row = reverse ? sizes.reduced - 1 : 0;
    int64_t at = (part.outer * sizes.reduced + first_row) * sizes.inner + part.first_column;
    Total<T> totals[column_tile];
    std::fill_n(totals, part.columns, Total<T>(0));
    for (int64_t r = 0; r < part.rows; ++r, at += step) {
#pragma omp simd
      for (int64_t j = 0; j < part.columns; ++j) {
        totals[j] += static_cast<Total<T>>(x[at + j]);
        y[at + j] = static_cast<T>(totals[j]);
      }
    }
  });
}

#define FOVEA_REDUCE(T)                                        \
  template void sum(const T*, ReduceSizes, T*);                \
  template void largest(const T*, ReduceSizes, T*, int64_t*);  \
  template void smallest(const T*, ReduceSizes, T*, int64_t*); \
  template void cumsum(const T*, ReduceSizes, bool, T*);
FOVEA_REDUCE(float)
FOVEA_REDUCE(double)
FOVEA_REDUCE(int64_t)
#undef FOVEA_REDUCE

#define FOVEA_FLOAT_REDUCE(T)                                \
  template void mean(const T*, ReduceSizes, T*);             \
  template void variance(const T*, ReduceSizes, double, T*); \
  template void logsumexp(const T*, ReduceSizes, T*);
FOVEA_FLOAT_REDUCE(float)
FOVEA_FLOAT_REDUCE(double)
#undef FOVEA_FLOAT_REDUCE

}  // namespace fovea::kernels
