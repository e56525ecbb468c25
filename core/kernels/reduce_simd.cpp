#include <fovea/core/kernels/reduce.h>
#include <fovea/core/kernels/row_sums.h>
#include <fovea/core/kernels/vecmath.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// ---- Sums --------------------------------------------------------------------------------------

template <Term term, class T>
FOVEA_INLINE ShortTotal<T> value(T x, [[maybe_unused]] T c) {
  if constexpr (term == Term::squared_deviation) {
    return (x - c) * (x - c);
  } else if constexpr (term == Term::exp_deviation) {
    return exp(x - c);
  } else {
    return static_cast<ShortTotal<T>>(x);
  }
}

template <Term term, class T>
Total<T> sum_row(const T* x, int64_t n, T c) {
  constexpr int64_t run = 256;
  Total<T> total = 0;
  for (int64_t begin = 0; begin < n; begin += run) {
    const int64_t length = begin + run < n ? run : n - begin;
    total +=
        row_sum<ShortTotal<T>>(length, [&](int64_t i) { return value<term>(x[begin + i], c); });
  }
  return total;
}

// Runs of 32 rows are summed in T, four rows at a time, so that a sum is loaded and stored once per
// four elements.
template <Term term, class T>
void sum_columns(const T* x, int64_t rows, int64_t stride, int64_t columns, const T* c,
                 Total<T>* totals) {
  constexpr int64_t run_rows = 32;
  ShortTotal<T> run[column_tile];
  for (int64_t j = 0; j < columns; ++j) totals[j] = 0;
  for (int64_t begin = 0; begin < rows; begin += run_rows) {
    const int64_t end = begin + run_rows < rows ? begin + run_rows : rows;
    for (int64_t j = 0; j < columns; ++j) run[j] = 0;
    int64_t r = begin;
    for (; r + 4 <= end; r += 4) {
      const T* const x0 = x + r * stride;
      const T* const x1 = x0 + stride;
      const T* const x2 = x1 + stride;
      const T* const x3 = x2 + stride;
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j)
        run[j] += (value<term>(x0[j], c[j]) + value<term>(x1[j], c[j])) +
                  (value<term>(x2[j], c[j]) + value<term>(x3[j], c[j]));
    }
    for (; r < end; ++r) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) run[j] += value<term>(x[r * stride + j], c[j]);
    }
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) totals[j] += run[j];
  }
}

// ---- Largest and smallest ----------------------------------------------------------------------

struct Larger {
  template <class T>
  static bool is_better(T a, T b) {
    return a > b;
  }
};

struct Smaller {
  template <class T>
  static bool is_better(T a, T b) {
    return a < b;
  }
};

template <class Order, class T>
FOVEA_INLINE bool beats(T x, T best) {
  return Order::is_better(x, best) | ((x != x) & (best == best));
}

template <class Order, class T>
void best_of_columns(const T* x, int64_t rows, int64_t stride, int64_t columns, T* best,
                     int64_t* index) {
  for (int64_t j = 0; j < columns; ++j) {
    best[j] = x[j];
    index[j] = 0;
  }
  for (int64_t r = 1; r < rows; ++r) {
    const T* const row = x + r * stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      const bool better = beats<Order>(row[j], best[j]);
      best[j] = better ? row[j] : best[j];
      index[j] = better ? r : index[j];
    }
  }
}

// Reads the row as a matrix of 64 columns, then compares the columns' extrema and the rest.
template <class Order, class T>
void best_of_row(const T* x, int64_t n, T* best, int64_t* index) {
  constexpr int64_t lanes = 64;
  *best = x[0];
  *index = 0;
  const auto consider = [&](T candidate, int64_t at) {
    const bool ties = candidate == *best || (candidate != candidate && *best != *best);
    if (beats<Order>(candidate, *best) || (ties && at < *index)) {
      *best = candidate;
      *index = at;
    }
  };
  const int64_t rows = n / lanes;
  if (rows > 0) {
    T lane_best[lanes];
    int64_t lane_row[lanes];
    best_of_columns<Order>(x, rows, lanes, lanes, lane_best, lane_row);
    for (int64_t j = 0; j < lanes; ++j) consider(lane_best[j], lane_row[j] * lanes + j);
  }
  for (int64_t i = rows * lanes; i < n; ++i) consider(x[i], i);
}

// ---- The table ---------------------------------------------------------------------------------

template <Term term, class T>
constexpr SumLoops<T> sum_loops = {.row = sum_row<term, T>, .columns = sum_columns<term, T>};

template <class Order, class T>
constexpr ExtremeLoops<T> extreme_loops = {.row = best_of_row<Order, T>,
                                           .columns = best_of_columns<Order, T>};

template <class T>
constexpr ReduceLoops<T> float_loops = {
    .sums = {sum_loops<Term::x, T>, sum_loops<Term::squared_deviation, T>,
             sum_loops<Term::exp_deviation, T>},
    .largest = extreme_loops<Larger, T>,
    .smallest = extreme_loops<Smaller, T>,
};

constexpr ReduceLoops<int64_t> integer_loops = {
    .sums = {sum_loops<Term::x, int64_t>},
    .largest = extreme_loops<Larger, int64_t>,
    .smallest = extreme_loops<Smaller, int64_t>,
};

}  // namespace

extern const ReduceTable reduce_table;
const ReduceTable reduce_table = {
    .f32 = float_loops<float>, .f64 = float_loops<double>, .i64 = integer_loops};

}  // namespace fovea::kernels::FOVEA_ISA
