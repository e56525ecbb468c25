// Softmax and log-softmax over the rows of a matrix. Everything is row-major and contiguous; rows
// are shared among threads. T is float or double.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// y = exp(x - max x) / sum exp(x - max x)      per row      x, y: (rows, n)
// A row that is all -inf, or contains NaN or +inf, gives NaN: its softmax is undefined.
template <class T>
void softmax(const T* x, int64_t rows, int64_t n, T* y);

// The same over the elements with keep = true; the others are 0, whatever the values of x there.
// A row with no kept element, or only -inf kept, gives zeros.      keep: (rows, n)
template <class T>
void masked_softmax(const T* x, const bool* keep, int64_t rows, int64_t n, T* y);

// dx = y * (dy - sum y dy)      per row, for both of the above      y, dy, dx: (rows, n)
template <class T>
void softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);

// y = x - max x - log sum exp(x - max x)      per row      x, y: (rows, n)
template <class T>
void log_softmax(const T* x, int64_t rows, int64_t n, T* y);

// dx = dy - exp(y) * sum dy      per row      y, dy, dx: (rows, n)
template <class T>
void log_softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);

// The single-thread loops for one instruction set.
template <class T>
struct SoftmaxRows {
  void (*softmax)(const T* x, int64_t rows, int64_t n, T* y);
  void (*masked_softmax)(const T* x, const bool* keep, int64_t rows, int64_t n, T* y);
  void (*softmax_backward)(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);
  void (*log_softmax)(const T* x, int64_t rows, int64_t n, T* y);
  void (*log_softmax_backward)(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);
};

struct SoftmaxTable {
  SoftmaxRows<float> f32;
  SoftmaxRows<double> f64;
};

}  // namespace fovea::kernels
