#include <fovea/core/kernels/optimizer.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

template <class T>
void sgd(const SgdCoefficients<T>& coefficients, const T* dw, int64_t n, T* w) {
  const SgdCoefficients<T> c = coefficients;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) w[i] -= c.lr * (dw[i] + c.weight_decay * w[i]);
}

template <class T, bool nesterov>
void sgd_momentum(const SgdCoefficients<T>& coefficients, const T* dw, int64_t n, T* w, T* v) {
  const SgdCoefficients<T> c = coefficients;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T g = dw[i] + c.weight_decay * w[i];
    const T velocity = c.momentum * v[i] + c.gradient_factor * g;
    v[i] = velocity;
    w[i] -= c.lr * (nesterov ? g + c.momentum * velocity : velocity);
  }
}

// A gradient whose square overflows T would make v infinite for all further steps: it is clamped to
// the largest with a finite square. Infinity and NaN stay.
template <class T>
inline T with_finite_square(T g) {
  constexpr T most = sizeof(T) == sizeof(float) ? T(0x1.fffffep63) : T(0x1.fffffffffffffp511);
  const T limited = g < -most ? -most : g > most ? most : g;
  return limited + (g - g);
}

template <class T>
void adam(const AdamCoefficients<T>& coefficients, const T* dw, int64_t n, T* w, T* m, T* v) {
  const AdamCoefficients<T> c = coefficients;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T weight = w[i] * c.shrink;
    const T g = with_finite_square(dw[i] + c.penalty * weight);
    const T mean = m[i] + c.gain1 * (g - m[i]);
    const T mean_square = v[i] + c.gain2 * (g * g - v[i]);
    m[i] = mean;
    v[i] = mean_square;
    w[i] = weight - c.step * mean / (root(mean_square) * c.unbias + c.eps);
  }
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

template <class T>
constexpr OptimizerLoops<T> loops = {.sgd = sgd<T>,
                                     .sgd_momentum = sgd_momentum<T, false>,
                                     .sgd_nesterov = sgd_momentum<T, true>,
                                     .adam = adam<T>,
                                     .sum_of_squares = sum_of_squares<T>};

}  // namespace

extern const OptimizerTable optimizer_table;
const OptimizerTable optimizer_table = {.f32 = loops<float>, .f64 = loops<double>};

}  // namespace fovea::kernels::FOVEA_ISA
