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

// The loop behind dropout, on one thread, for one instruction set. Words are compared by their
// upper 24 bits, as signed numbers: not every instruction set can compare unsigned ones.
struct DropoutTable {
  void (*f32)(const float* x, int64_t n, int32_t threshold, float scale, const PhiloxOrigin& origin,
              float* y);
  void (*f64)(const double* x, int64_t n, int32_t threshold, double scale,
              const PhiloxOrigin& origin, double* y);
};

}  // namespace fovea::kernels
