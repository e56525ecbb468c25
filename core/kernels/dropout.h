// Dropout whose mask is never stored: it is a function of a place in a random sequence.
// T is float or double.
#pragma once

#include <fovea/core/kernels/philox.h>

#include <cstdint>

namespace fovea::kernels {

// y_i = x_i / (1 - p) where the i-th random word counted from `origin` keeps it, else 0.
// Linear in x, with the same mask whenever it is called with the same origin: it is its own
// backward. x, y: (n)      0 <= p <= 1, in steps of 2^-24; p = 1 drops everything.
template <class T>
void dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y);

// dropout of max(x, 0), in one pass; a NaN that is kept stays one.
template <class T>
void relu_dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y);

// Its derivative by x. y says what was kept: dx_i = dy_i / (1 - p) where y_i > 0, else 0.
template <class T>
void relu_dropout_backward(const T* y, const T* dy, int64_t n, double p, T* dx);

// The loops behind these, on one thread, for one instruction set. Words are compared by their
// upper 24 bits, as signed numbers: not every instruction set can compare unsigned ones.
template <class T>
struct DropoutLoops {
  using Forward = void (*)(const T* x, int64_t n, int32_t threshold, T scale,
                           const PhiloxOrigin& origin, T* y);
  Forward dropout, relu_dropout;
  void (*relu_dropout_backward)(const T* y, const T* dy, int64_t n, T scale, T* dx);
};
struct DropoutTable {
  DropoutLoops<float> f32;
  DropoutLoops<double> f64;
};

}  // namespace fovea::kernels
