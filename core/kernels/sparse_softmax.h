// Sparsemax and entmax-1.5 over the rows of a matrix. Everything is row-major and contiguous; rows
// are shared among threads. T is float or double.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// sparsemax: y = max(x - tau, 0); entmax15: y = max(x / 2 - tau, 0)^2, both with sum y = 1.
enum class SparseSoftmax : std::uint8_t { sparsemax, entmax15 };

// Per row.   x, y: (rows, n)   keep: (rows, n), or null for all; masked elements are 0, whatever
// the values of x there. A row with no kept element, or only -inf kept, gives zeros under a mask
// and NaN without one; a kept NaN or +inf gives NaN.
template <class T>
void sparse_softmax(SparseSoftmax kind, const T* x, const bool* keep, int64_t rows, int64_t n,
                    T* y);

// dx = w (dy - sum(w dy) / sum(w))      per row      y, dy, dx: (rows, n)
// w = 1 on the support (y > 0) for sparsemax, sqrt(y) for entmax-1.5; 0 elsewhere.
template <class T>
void sparse_softmax_backward(SparseSoftmax kind, const T* y, const T* dy, int64_t rows, int64_t n,
                             T* dx);

}  // namespace fovea::kernels
