// Layer norm and RMS norm over the rows of a matrix. Row-major, contiguous; T is float or double.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// mu = mean(x)   r = 1 / sqrt(mean((x - mu)^2) + eps)   y = g (x - mu) r + b        per row
// x, y: (rows, C)   g, b: (C)   mu, r: (rows), saved for backward
template <class T>
void layer_norm(const T* x, const T* g, const T* b, T eps, int64_t rows, int64_t C, T* y, T* mu,
                T* r);

// With h = (x - mu) r and d = g dy:
//   dx = r (d - mean(d) - h mean(d h))  per row
//   dg = sum of dy h,  db = sum of dy   over the rows
// x, dy, dx: (rows, C)   g, dg, db: (C)   mu, r: (rows)
// partial: scratch of norm_partial_size(rows, C) elements for sums over fixed groups of rows, added
// in order at the end: dg and db are bitwise the same for any number of threads.
template <class T>
void layer_norm_backward(const T* x, const T* g, const T* mu, const T* r, const T* dy, int64_t rows,
                         int64_t C, T* dx, T* dg, T* db, T* partial);

// r = 1 / sqrt(mean(x^2) + eps)   y = g x r        per row      r: (rows), saved for backward
template <class T>
void rms_norm(const T* x, const T* g, T eps, int64_t rows, int64_t C, T* y, T* r);

// With h = x r and d = g dy:   dx = r (d - h mean(d h))  per row     dg = sum of dy h over the rows
template <class T>
void rms_norm_backward(const T* x, const T* g, const T* r, const T* dy, int64_t rows, int64_t C,
                       T* dx, T* dg, T* partial);

// The same for one row, in a wider type. For rows whose squares are out of the range of T, and for
// rows with so little variation that the rounding of their mean would matter.
template <class T>
void layer_norm_wide(const T* x, const T* g, const T* b, T eps, int64_t C, T* y, T* mu, T* r);
template <class T>
void layer_norm_backward_wide(const T* x, const T* g, T r, const T* dy, int64_t C, T* dx, T* dg,
                              T* db);
template <class T>
void rms_norm_wide(const T* x, const T* g, T eps, int64_t C, T* y, T* r);
template <class T>
void rms_norm_backward_wide(const T* x, const T* g, const T* dy, int64_t C, T* dx, T* dg);

// Elements of scratch needed by either backward.
int64_t norm_partial_size(int64_t rows, int64_t C);

// The single-thread loops for one instruction set. The backward loops add to dg and db.
template <class T>
struct NormRows {
  void (*layer_norm)(const T* x, const T* g, const T* b, T eps, int64_t rows, int64_t C, T* y,
                     T* mu, T* r);
  void (*layer_norm_backward)(const T* x, const T* g, const T* mu, const T* r, const T* dy,
                              int64_t rows, int64_t C, T* dx, T* dg, T* db);
  void (*rms_norm)(const T* x, const T* g, T eps, int64_t rows, int64_t C, T* y, T* r);
  void (*rms_norm_backward)(const T* x, const T* g, const T* r, const T* dy, int64_t rows,
                            int64_t C, T* dx, T* dg);
};

struct NormTable {
  NormRows<float> f32;
  NormRows<double> f64;
};

}  // namespace fovea::kernels
