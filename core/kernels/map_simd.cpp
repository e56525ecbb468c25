// The formulas of the elementwise kernels, and the loops around them. Compiled once per instruction
// set; see map.h.
#include <fovea/core/kernels/map.h>
#include <fovea/core/kernels/vecmath.h>

#include <type_traits>
#include <utility>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// ---- The normal distribution, for GELU ---------------------------------------------------------

template <class T>
inline constexpr T sqrt_half = static_cast<T>(0.70710678118654752440);
template <class T>
inline constexpr T sqrt_2_over_pi = static_cast<T>(0.79788456080286535588);
template <class T>
inline constexpr T two_over_sqrt_pi = static_cast<T>(1.12837916709551257390);
template <class T>
inline constexpr T gelu_cubic = static_cast<T>(0.044715);

// Phi(x): the CDF of the standard normal distribution.
template <class T>
FOVEA_INLINE T normal_cdf(T x) {
  return T(0.5) * (1 + erf(x * sqrt_half<T>));
}

// phi(x) = Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi)
template <class T>
FOVEA_INLINE T normal_density(T x) {
  return T(0.5) * sqrt_2_over_pi<T> * exp_nonpositive(T(-0.5) * x * x);
}

// The approximate GELU is  x (1 + t) / 2  with  t = tanh(sqrt(2 / pi) (x + 0.044715 x^3)).
template <class T>
FOVEA_INLINE T gelu_t(T x) {
  return tanh(sqrt_2_over_pi<T> * (x + gelu_cubic<T> * x * x * x));
}

template <class T>
FOVEA_INLINE T gelu_tanh_slope(T x) {
  const T t = gelu_t(x);
  const T dt = (1 - t * t) * sqrt_2_over_pi<T> * (1 + 3 * gelu_cubic<T> * x * x);
  return T(0.5) * (1 + t + x * dt);
}

template <class T>
FOVEA_INLINE T silu_slope(T x) {
  const T s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

// dy a^b log(a), and 0 where a^b is 0 (0 outweighs the logarithm).
template <class T>
FOVEA_INLINE T exponent_slope(T dy, T a, T b) {
  const bool vanishes = ((a == 0) & (b >= 0)) | ((a == infinity<T>)&(b < 0));
  return vanishes ? T{0} : dy * power(a, b) * log(a);
}

// The type for + - *: int64 wraps, which is defined for unsigned types only.
template <class T>
using Wrapping = std::conditional_t<std::is_same_v<T, int64_t>, std::uint64_t, T>;

// ---- The formulas, one per line -----------------------------------------------------------------
//
// A comparison with NaN is false: each line is written so that NaN comes through.
// clang-format off

// y = f(x)
template <Unary f, class T>
FOVEA_INLINE T value(T x, T a, T b) {
  switch (f) {
    case Unary::exp:        return exp(x);
    case Unary::log:        return log(x);
    case Unary::sqrt:       return square_root(x);
    case Unary::rsqrt:      return 1 / square_root(x);
    case Unary::square:     return x * x;
    case Unary::tanh:       return tanh(x);
    case Unary::sigmoid:    return sigmoid(x);
    case Unary::erf:        return erf(x);
    case Unary::relu:       return x < 0 ? T{0} : x;
    case Unary::leaky_relu: return x > 0 ? x : a * x;
    case Unary::gelu:       return x * normal_cdf(x);
    case Unary::gelu_tanh:  return T(0.5) * x * (1 + gelu_t(x));
    case Unary::silu:       return x * sigmoid(x);
    case Unary::softplus:   return softplus(x);
    case Unary::abs:        return magnitude(x);
    case Unary::clamp:      return clamped(x, a, b);
  }
}

// f'(x), in terms of the saved value k: y or x
template <Unary f, class T>
FOVEA_INLINE T gradient(T dy, T k, T a, T b) {
  switch (f) {
    case Unary::exp:        return dy * k;                             // y
    case Unary::log:        return dy / k;                             // x
    case Unary::sqrt:       return dy / (2 * k);                       // y
    case Unary::rsqrt:      return T(-0.5) * dy * k * k * k;           // y
    case Unary::square:     return 2 * dy * k;                         // x
    case Unary::tanh:       return dy * (1 - k * k);                   // y
    case Unary::sigmoid:    return dy * k * (1 - k);                   // y
    case Unary::erf:        return dy * two_over_sqrt_pi<T> * exp_nonpositive(-k * k);  // x
    case Unary::relu:       return k <= 0 ? T{0} : dy;                 // y: 0 at 0
    case Unary::leaky_relu: return k > 0 ? dy : a * dy;                // x
    case Unary::gelu:       return dy * (normal_cdf(k) + k * normal_density(k));  // x
    case Unary::gelu_tanh:  return dy * gelu_tanh_slope(k);            // x
    case Unary::silu:       return dy * silu_slope(k);                 // x
    case Unary::softplus:   return dy * sigmoid(k);                    // x
    case Unary::abs:        return k > 0 ? dy : (k < 0 ? -dy : T{0});  // x: 0 at 0
    case Unary::clamp:      return ((k >= a) & (k <= b)) ? dy : T{0};  // x: dy at the bounds
  }
}

// y = f(a, b)
template <Binary f, class T>
FOVEA_INLINE T value(T a, T b) {
  using W = Wrapping<T>;
  switch (f) {
    case Binary::add:     return static_cast<T>(W(a) + W(b));
    case Binary::sub:     return static_cast<T>(W(a) - W(b));
    case Binary::mul:     return static_cast<T>(W(a) * W(b));
    case Binary::maximum: return ((a > b) | (a != a)) ? a : b;
    case Binary::minimum: return ((a < b) | (a != a)) ? a : b;
    case Binary::div:     return a / b;
    case Binary::pow:     return power(a, b);
  }
}

// y = result of comparing a and b
template <Compare f, class T>
FOVEA_INLINE bool value(T a, T b) {
  switch (f) {
    case Compare::eq:     return a == b;
    case Compare::ne:     return a != b;
    case Compare::lt:     return a < b;
    case Compare::le:     return a <= b;
    case Compare::gt:     return a > b;
    case Compare::ge:     return a >= b;
    case Compare::both:   return (a != T{0}) & (b != T{0});
    case Compare::either: return (a != T{0}) | (b != T{0});
  }
}

// da or db, for y = a / b, pow(a, b), max(a, b), min(a, b). Equal operands share dy.
template <BinaryGradient f, class T>
FOVEA_INLINE T gradient(T dy, T a, T b) {
  switch (f) {
    case BinaryGradient::div_b:     return -dy * a / (b * b);
    case BinaryGradient::pow_a:     return b == 0 ? T{0} : dy * b * power(a, b - 1);
    case BinaryGradient::pow_b:     return exponent_slope(dy, a, b);
    case BinaryGradient::maximum_a: return a == b ? T(0.5) * dy : (a < b ? T{0} : dy);
    case BinaryGradient::minimum_a: return a == b ? T(0.5) * dy : (a > b ? T{0} : dy);
  }
}
// clang-format on

// ---- The loops ---------------------------------------------------------------------------------

// These formulas multiply 0 by infinity for large arguments, beyond their limits. A non-finite run
// is recomputed with arguments clamped to 1000.
template <Unary f>
inline constexpr bool has_limits = f == Unary::gelu || f == Unary::gelu_tanh || f == Unary::silu;
template <class T>
inline constexpr T far_out = 1000;

template <Unary f, class T>
void unary_loop_to_limit(const T* x, T* y, int64_t n, T a, T b) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = value<f>(x[i] < -far_out<T> ? -far_out<T> : x[i], a, b);
}

// x may alias y.
template <Unary f, class T>
void unary_loop(const T* x, T* y, int64_t n, UnaryArgs args) {
  const T a = static_cast<T>(args.a), b = static_cast<T>(args.b);
  if constexpr (has_limits<f>) {
    if (x == y) return unary_loop_to_limit<f>(x, y, n, a, b);
    T check = 0;
#pragma omp simd reduction(+ : check)
    for (int64_t i = 0; i < n; ++i) {
      y[i] = value<f>(x[i], a, b);
      check += T(0) * y[i];
    }
    if (check != 0) unary_loop_to_limit<f>(x, y, n, a, b);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = value<f>(x[i], a, b);
  }
}

template <Unary f, class T>
void unary_gradient_loop(const T* dy, const T* kept, T* dx, int64_t n, UnaryArgs args) {
  const T a = static_cast<T>(args.a), b = static_cast<T>(args.b);
  if constexpr (has_limits<f>) {
    T check = 0;
#pragma omp simd reduction(+ : check)
    for (int64_t i = 0; i < n; ++i) {
      dx[i] = gradient<f>(dy[i], kept[i], a, b);
      check += T(0) * dx[i];
    }
    if (check == 0) return;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      dx[i] = gradient<f>(dy[i], clamped(kept[i], -far_out<T>, far_out<T>), a, b);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = gradient<f>(dy[i], kept[i], a, b);
  }
}

// Binary has a numeric result, Compare a bool result.
template <auto f, class T, class Result>
void binary_loop(const T* a, const T* b, Result* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = value<f>(a[i], b[i]);
}

// True if dy a and b^2 are in range, given that the results are.
template <class T>
FOVEA_INLINE bool is_safe_quotient(T dy, T a, T b) {
  const T square = b * b;
  return (square >= Ieee<T>::smallest_normal) &
         (square < infinity<T>)&(magnitude(dy * a) < infinity<T>);
}

template <BinaryGradient f, class T>
void binary_gradient_loop(const T* dy, const T* a, const T* b, T* result, int64_t n) {
  Bits<T> far = 0;
#pragma omp simd reduction(| : far)
  for (int64_t i = 0; i < n; ++i) {
    result[i] = gradient<f>(dy[i], a[i], b[i]);
    if constexpr (f == BinaryGradient::div_b) far |= !is_safe_quotient(dy[i], a[i], b[i]);
  }
  if (!far) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T in_steps = -dy[i] * (a[i] / b[i] / b[i]);
    result[i] = is_safe_quotient(dy[i], a[i], b[i]) ? result[i] : in_steps;
  }
}

// Reads the condition as integers, and always both sides: else GCC 12 does not vectorize it.
template <class T>
void select_loop(const bool* condition, const T* a, const T* b, T* y, int64_t n) {
  const auto* chosen = reinterpret_cast<const unsigned char*>(condition);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T yes = a[i], no = b[i];
    y[i] = chosen[i] != 0 ? yes : no;
  }
}

// ---- The table ---------------------------------------------------------------------------------

// One loop per enumerator, in order.
template <int... i>
using Members = std::integer_sequence<int, i...>;
template <int count>
using AllOf = std::make_integer_sequence<int, count>;

template <class T, int... u, int... g>
constexpr FloatMaps<T> float_maps(Members<u...>, Members<g...>) {
  return {{unary_loop<Unary{u}, T>...},
          {unary_gradient_loop<Unary{u}, T>...},
          {binary_gradient_loop<BinaryGradient{g}, T>...}};
}

template <class T>
constexpr FloatMaps<T> float_maps() {
  return float_maps<T>(AllOf<unary_count>{}, AllOf<binary_gradient_count>{});
}

template <class T, int... i>
constexpr BinaryMaps<T, sizeof...(i)> binary_maps(Members<i...>) {
  return {{binary_loop<Binary{i}, T, T>...}};
}

template <class T, int... i>
constexpr AnyMaps<T> any_maps(Members<i...>) {
  return {{binary_loop<Compare{i}, T, bool>...}, select_loop<T>};
}

}  // namespace

// Initialized at compile time: no code of this instruction set runs before it is selected.
extern constinit const MapTable map_table = {
    float_maps<float>(),
    float_maps<double>(),
    binary_maps<float>(AllOf<binary_count>{}),
    binary_maps<double>(AllOf<binary_count>{}),
    binary_maps<int64_t>(AllOf<integer_binary_count>{}),
    any_maps<float>(AllOf<compare_count>{}),
    any_maps<double>(AllOf<compare_count>{}),
    any_maps<int64_t>(AllOf<compare_count>{}),
    any_maps<bool>(AllOf<compare_count>{}),
};

}  // namespace fovea::kernels::FOVEA_ISA
