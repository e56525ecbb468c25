// One update of one parameter by an optimizer, in a single pass over its elements. T is float or
// double; all arrays have n elements. Sources of the formulas: core/ops/optimizer.h.
#pragma once

#include <cstdint>

namespace fovea::kernels {

template <class T>
struct SgdCoefficients {
  T lr;
  T weight_decay;
  T momentum;         // factor of the old velocity
  T gradient_factor;  // factor of the gradient: 1 - dampening, or 1 in the first step
};

// g = dw + weight_decay w,   w -= lr g
template <class T>
void sgd(const SgdCoefficients<T>& c, const T* dw, int64_t n, T* w);

// g = dw + weight_decay w,   v = momentum v + gradient_factor g,
// w -= lr v, or by Nesterov's rule  w -= lr (g + momentum v)
template <class T>
void sgd_momentum(const SgdCoefficients<T>& c, bool nesterov, const T* dw, int64_t n, T* w, T* v);

template <class T>
struct AdamCoefficients {
  T gain1, gain2;  // 1 - beta1, 1 - beta2: computed in double, since 1 - 0.999f is off by 5e-5
  T step;          // lr / (1 - beta1^t)
  T unbias;        // 1 / sqrt(1 - beta2^t)
  T eps;
  T penalty;  // Adam's weight decay: added to the gradient
  T shrink;   // AdamW's weight decay: factor of the weights
};

// w *= shrink,   g = dw + penalty w, clamped so that g^2 is finite,
// m += (1 - beta1) (g - m),   v += (1 - beta2) (g^2 - v),   w -= step m / (sqrt(v) unbias + eps)
template <class T>
void adam(const AdamCoefficients<T>& c, const T* dw, int64_t n, T* w, T* m, T* v);

// Sum of x_i^2, in double: squares of floats neither overflow nor underflow. Partial sums are added
// in the order of the chunks, for any number of threads.
template <class T>
double sum_of_squares(const T* x, int64_t n);

// The single-thread loops for one instruction set.
template <class T>
struct OptimizerLoops {
  void (*sgd)(const SgdCoefficients<T>& c, const T* dw, int64_t n, T* w);
  void (*sgd_momentum)(const SgdCoefficients<T>& c, const T* dw, int64_t n, T* w, T* v);
  void (*sgd_nesterov)(const SgdCoefficients<T>& c, const T* dw, int64_t n, T* w, T* v);
  void (*adam)(const AdamCoefficients<T>& c, const T* dw, int64_t n, T* w, T* m, T* v);
  double (*sum_of_squares)(const T* x, int64_t n);
};
struct OptimizerTable {
  OptimizerLoops<float> f32;
  OptimizerLoops<double> f64;
};

}  // namespace fovea::kernels
