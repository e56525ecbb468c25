// Reductions over the middle axis of (outer, reduced, inner), dense and row-major; a reduction over
// any run of adjacent axes has this form. The order of every sum depends on the sizes only, never
// on the number of threads.
#pragma once

#include <cstdint>
#include <type_traits>

namespace fovea::kernels {

struct ReduceSizes {
  int64_t outer, reduced, inner;
};

// y = sum x.    T: float, double, int64_t
//   x: (outer, reduced, inner)  ->  y: (outer, inner)
//
// Short runs are summed in T, in several lanes, and the totals of the runs in double: the error of
// a long sum grows with the length of a run, not with the number of terms.
template <class T>
void sum(const T* x, ReduceSizes sizes, T* y);

// y = sum x / reduced; NaN if reduced is 0.    T: float, double
template <class T>
void mean(const T* x, ReduceSizes sizes, T* y);

// y = sum (x - mean x)^2 / max(0, reduced - correction)    T: float, double
// In two passes: mean(x^2) - mean(x)^2 cancels when the mean is large.
template <class T>
void variance(const T* x, ReduceSizes sizes, double correction, T* y);

// y = log sum exp(x), shifted by the largest x to avoid overflow.    T: float, double
// An empty sum gives -inf, and an infinite x gives the value of the formula.
template <class T>
void logsumexp(const T* x, ReduceSizes sizes, T* y);

// The largest (smallest) element and the index of its first occurrence; NaN takes precedence.
// T: float, double, int64_t    reduced >= 1    index: (outer, inner), or null if not required
template <class T>
void largest(const T* x, ReduceSizes sizes, T* y, int64_t* index);
template <class T>
void smallest(const T* x, ReduceSizes sizes, T* y, int64_t* index);

// y[r] = x[0] + ... + x[r], or x[r] + ... + x[reduced - 1] if `reverse`; summed in double.
// T: float, double, int64_t    x, y: (outer, reduced, inner)
template <class T>
void cumsum(const T* x, ReduceSizes sizes, bool reverse, T* y);

// ---- The loops, one build per instruction set --------------------------------------------------

// The accumulator types of T for long and for short sums. Integers wrap: unsigned.
template <class T>
using Total = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;
template <class T>
using ShortTotal = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;

// The term of a sum, for element x and the center c of its row or column.
enum class Term { x, squared_deviation, exp_deviation };  // x, (x - c)^2, exp(x - c)

// The maximum number of columns that a loop over columns processes at once.
inline constexpr int64_t column_tile = 512;

template <class T>
struct SumLoops {
  Total<T> (*row)(const T* x, int64_t n, T c);
  // totals[j] = sum over r of term(x[r * stride + j], c[j]), for j < columns <= column_tile
  void (*columns)(const T* x, int64_t rows, int64_t stride, int64_t columns, const T* c,
                  Total<T>* totals);
};

// The first extremum of a row, or of every column.
template <class T>
struct ExtremeLoops {
  void (*row)(const T* x, int64_t n, T* best, int64_t* index);
  void (*columns)(const T* x, int64_t rows, int64_t stride, int64_t columns, T* best,
                  int64_t* index);
};

template <class T>
struct ReduceLoops {
  SumLoops<T> sums[std::is_integral_v<T> ? 1 : 3];  // by Term
  ExtremeLoops<T> largest, smallest;
};

struct ReduceTable {
  ReduceLoops<float> f32;
  ReduceLoops<double> f64;
  ReduceLoops<int64_t> i64;
};

}  // namespace fovea::kernels
