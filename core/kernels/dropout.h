// Dropout without a stored mask: the mask is a function of the position in a random sequence. T is
// float or double.
#pragma once

#include <fovea/core/kernels/philox.h>

#include <cstdint>

namespace fovea::kernels {

// y_i = x_i / (1 - p) if the i-th random word from `origin` keeps it, else 0. Linear in x, with the
// same mask for the same origin: it is its own backward. x, y: (n)      0 <= p <= 1, in steps of
// 2^-24; p = 1 drops everything.
template <class T>
void dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y);

// dropout of max(x, 0), in one pass; a NaN that is not dropped stays NaN.
template <class T>
void relu_dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y);

// Its derivative by x, from y: dx_i = dy_i / (1 - p) where y_i > 0, else 0.
template <class T>
void relu_dropout_backward(const T* y, const T* dy, int64_t n, double p, T* dx);

// The single-thread loops for one instruction set. Words are compared by their upper 24 bits, as
// signed integers: not every instruction set can compare unsigned ones.
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
