// exp, log, tanh, sigmoid, erf and related functions as short polynomials without branches, so that
// a loop under `#pragma omp simd` is vectorized to the width that the including file is compiled
// for. Only *_simd.cpp files may include it: everything here is static.
//
// One implementation serves float and double: Ieee<T> describes the format, and only the
// polynomials (minimax fits, made for this file) differ in length.
//
// Largest error in units in the last place, for both types, over the whole domain, including
// denormal results. tests/core/kernels/vecmath_test.cpp measures it on every instruction set and
// checks these bounds:
//
//   exp 1.1    log 1    tanh 2.6    sigmoid 2.5    erf 1.5    softplus 2
//
// Infinities give the limits, NaN gives NaN, exp overflows to infinity and underflows gradually to
// 0, log(0) = -inf and log of a negative number is NaN. Relies on IEEE arithmetic: must not be
// compiled with -ffast-math.
#pragma once

#include <cstdint>

#define FOVEA_INLINE [[gnu::always_inline]] static inline

namespace fovea::kernels::FOVEA_ISA {
namespace {

// A number is  (-1)^sign * 1.mantissa * 2^(exponent - bias),  most significant field first.
template <class T>
struct Ieee;

template <>
struct Ieee<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr Bits bias = 127;
  static constexpr Bits sqrt_half = 0x3f3504f3;  // the bits of sqrt(1/2)
  static constexpr float smallest_normal = 0x1p-126f;
  static constexpr float ln2_high = 0x1.62e4p-1f;       // 15 bits: n * ln2_high is exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20f;     // ln 2 - ln2_high
  static constexpr float exp_min = -104, exp_max = 89;  // exp is 0 below and inf above
  static constexpr float expm1_min = -18;               // exp(x) - 1 rounds to -1 below
  static constexpr float erf_max = 4;                   // erf rounds to 1 above
};

template <>
struct Ieee<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr Bits bias = 1023;
  static constexpr Bits sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double smallest_normal = 0x1p-1022;
  static constexpr double ln2_high = 0x1.62e42feep-1;  // 32 bits
  static constexpr double ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double exp_min = -746, exp_max = 710;
  static constexpr double expm1_min = -40;
  static constexpr double erf_max = 6;
};

template <class T>
using Bits = typename Ieee<T>::Bits;

template <class T>
FOVEA_INLINE Bits<T> bits_of(T x) {
  return __builtin_bit_cast(Bits<T>, x);
}

template <class T>
FOVEA_INLINE T from_bits(Bits<T> bits) {
  return __builtin_bit_cast(T, bits);
}

// ---- Bit operations
// ------------------------------------------------------------------------------

template <class T>
inline constexpr Bits<T> sign_bit = Bits<T>{1} << (8 * sizeof(T) - 1);

template <class T>
inline constexpr T infinity = static_cast<T>(__builtin_inf());

template <class T>
FOVEA_INLINE T magnitude(T x) {
  return from_bits<T>(bits_of(x) & ~sign_bit<T>);
}

template <class T>
FOVEA_INLINE T with_sign_of(T x, T sign) {  // x >= 0
  return from_bits<T>(bits_of(x) | (bits_of(sign) & sign_bit<T>));
}

// NaN passes: both comparisons are false.
template <class T>
FOVEA_INLINE T clamped(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

template <class T>
FOVEA_INLINE T square_root(T x) {
  if constexpr (sizeof(T) == sizeof(float)) return __builtin_sqrtf(x);
  return static_cast<T>(__builtin_sqrt(x));
}

// The C library's: an accurate pow is not a short polynomial, so this is not vectorized.
template <class T>
FOVEA_INLINE T power(T x, T p) {
  if constexpr (sizeof(T) == sizeof(float)) return __builtin_powf(x, p);
  return static_cast<T>(__builtin_pow(x, p));
}

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class T>
FOVEA_INLINE T polynomial(T, T c0) {
  return c0;
}
template <class T, class... Higher>
FOVEA_INLINE T polynomial(T x, T c0, Higher... higher) {
  return c0 + x * polynomial(x, higher...);
}

// ---- exp ---------------------------------------------------------------------------------------

// x = n ln 2 + r with an integer n and |r| <= ln 2 / 2.
template <class T>
struct Reduced {
  T r;
  Bits<T> n;  // modulo 2^32 or 2^64
};

// 1.5 * 2^mantissa_bits: adding it rounds a number to an integer, in the lowest bits of the sum.
template <class T>
inline constexpr T rounding_shift = static_cast<T>(Bits<T>{3} << (Ieee<T>::mantissa_bits - 1));

template <class T>
FOVEA_INLINE Reduced<T> reduce_by_ln2(T x) {
  constexpr T log2_e = static_cast<T>(1.4426950408889634074);
  const T shifted = x * log2_e + rounding_shift<T>;
  const T n = shifted - rounding_shift<T>;
  const T r = (x - n * Ieee<T>::ln2_high) - n * Ieee<T>::ln2_low;  // ln 2 in two pieces
  return {r, bits_of(shifted) - bits_of(rounding_shift<T>)};
}

// 2^(biased - bias)
template <class T>
FOVEA_INLINE T power_of_two(Bits<T> biased) {
  return from_bits<T>(biased << Ieee<T>::mantissa_bits);
}

// exp(r) - 1 for |r| <= ln 2 / 2
FOVEA_INLINE float expm1_reduced(float r) {
  return r + r * r * polynomial(r, 0.5f, 0.16666521f, 0.04166621f, 0.0083687184f, 0.0013950258f);
}
FOVEA_INLINE double expm1_reduced(double r) {
  return r + r * r *
                 polynomial(r, 0.5, 0.16666666666666682, 0.04166666666666672, 0.008333333333317735,
                            0.0013888888888860542, 0.00019841269895022362, 2.4801587370714687e-05,
                            2.7557235969803112e-06, 2.755723538838372e-07, 2.5111713891825464e-08,
                            2.0926428265205664e-09);
}

// exp(x) = 2^n exp(r). The power of two is applied in two factors, since a single normal factor
// cannot give the largest or the denormal results.
template <class T>
FOVEA_INLINE T exp_clamped(T x) {
  const Reduced<T> at = reduce_by_ln2(x);
  const Bits<T> biased_twice = at.n + 2 * Ieee<T>::bias;  // positive, so that >> halves it
  const Bits<T> half = biased_twice >> 1;
  return (1 + expm1_reduced(at.r)) * power_of_two<T>(half) * power_of_two<T>(biased_twice - half);
}

template <class T>
FOVEA_INLINE T exp(T x) {
  return exp_clamped(clamped(x, Ieee<T>::exp_min, Ieee<T>::exp_max));
}
// The same for x <= 0, bitwise equal.
template <class T>
FOVEA_INLINE T exp_nonpositive(T x) {
  return exp_clamped(x < Ieee<T>::exp_min ? Ieee<T>::exp_min : x);
}

// exp(x) - 1 for x <= 0, without the loss of digits near 0: 2^n (exp(r) - 1) + (2^n - 1).
template <class T>
FOVEA_INLINE T expm1_nonpositive(T x) {
  const Reduced<T> at = reduce_by_ln2(x < Ieee<T>::expm1_min ? Ieee<T>::expm1_min : x);
  const T scale = power_of_two<T>(at.n + Ieee<T>::bias);
  return scale * expm1_reduced(at.r) + (scale - 1);
}

// ---- log ---------------------------------------------------------------------------------------

// (2 atanh(s) - 2 s) / s^3 as a polynomial in z = s^2, for |s| <= 1/3
FOVEA_INLINE float atanh_tail(float z) {
  return polynomial(z, 0.66666675f, 0.3999903f, 0.28613263f, 0.21463211f, 0.24178252f);
}
FOVEA_INLINE double atanh_tail(double z) {
  return polynomial(z, 0.6666666666666667, 0.3999999999999715, 0.2857142857208469,
                    0.22222222154469734, 0.1818182204680729, 0.15384480798755776,
                    0.13336340767248026, 0.11720783867539597, 0.10941262236256172,
                    0.07109189775242211, 0.16284894293525765);
}

// f - log(1 + f), for -1/3 <= f <= 1. With s = f / (2 + f):
// log(1 + f) = 2 atanh(s) = f - s (f - s^2 atanh_tail(s^2)),  where f itself is exact.
template <class T>
FOVEA_INLINE T log1p_deficit(T f) {
  const T s = f / (2 + f);
  const T z = s * s;
  return s * (f - z * atanh_tail(z));
}

// log(1 + f) for 0 <= f <= 1
template <class T>
FOVEA_INLINE T log1p_unit(T f) {
  return f - log1p_deficit(f);
}

// log(x) = e ln 2 + log(m) with sqrt(1/2) <= m < sqrt(2). Denormals are scaled up first.
template <class T>
FOVEA_INLINE T log(T x) {
  using I = Ieee<T>;
  constexpr Bits<T> one = I::bias << I::mantissa_bits;
  constexpr T two_to_mantissa = static_cast<T>(Bits<T>{1} << I::mantissa_bits);
  const bool is_denormal = x < I::smallest_normal;
  const T normal = is_denormal ? x * two_to_mantissa : x;

  const Bits<T> aligned = bits_of(normal) + (one - I::sqrt_half);  // its exponent field: e + bias
  const T m = from_bits<T>((aligned & ((Bits<T>{1} << I::mantissa_bits) - 1)) + I::sqrt_half);
  const T biased_e = from_bits<T>((aligned >> I::mantissa_bits) | bits_of(two_to_mantissa));
  const T e = biased_e - (is_denormal ? two_to_mantissa + I::bias + I::mantissa_bits
                                      : two_to_mantissa + I::bias);

  const T f = m - 1;
  const T result = e * I::ln2_high + (f - (log1p_deficit(f) - e * I::ln2_low));
  const T at_most_0 = x == 0 ? -infinity<T> : static_cast<T>(__builtin_nan(""));
  return x > 0 ? (x < infinity<T> ? result : infinity<T>) : at_most_0;
}

// ---- Sigmoids ----------------------------------------------------------------------------------

// tanh(x) = -t / (2 + t) with t = exp(-2 |x|) - 1, with the sign of x.
template <class T>
FOVEA_INLINE T tanh(T x) {
  const T t = expm1_nonpositive(-2 * magnitude(x));
  return with_sign_of(magnitude(t) / (2 + t), x);
}

// sigmoid(x) = 1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) where x < 0: nothing overflows.
template <class T>
FOVEA_INLINE T sigmoid(T x) {
  const T e = exp_nonpositive(-magnitude(x));
  return (x < 0 ? e : T{1}) / (1 + e);
}

// softplus(x) = log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))
template <class T>
FOVEA_INLINE T softplus(T x) {
  return (x > 0 ? x : T{0}) + log1p_unit(exp_nonpositive(-magnitude(x)));
}

// ---- erf ---------------------------------------------------------------------------------------

// erf(x) / x - 1 as a polynomial in z = x^2, for |x| <= 1
FOVEA_INLINE float erf_excess(float z) {
  return polynomial(z, 0.12837917f, -0.37612626f, 0.112836f, -0.026854444f, 0.0051895357f,
                    -0.00080208434f, 7.889123e-05f);
}
FOVEA_INLINE double erf_excess(double z) {
  return polynomial(z, 0.12837916709551257, -0.3761263890318375, 0.11283791670954885,
                    -0.026866170645077875, 0.005223977624828431, -0.0008548326981425542,
                    0.0001205533113295582, -1.4925595772180906e-05, 1.64610084778027e-06,
                    -1.6350396222864617e-07, 1.466032872274226e-08, -1.137495573607015e-09,
                    5.960685338520971e-11);
}

// -log(1 - erf(a)) for 1 <= a <= erf_max
FOVEA_INLINE float minus_log_erfc(float a) {
  return polynomial(a, 0.00035376218f, 1.1270399f, 0.638226f, 0.10303709f, -0.021805178f,
                    0.0029395716f, -0.0001855703f);
}
FOVEA_INLINE double minus_log_erfc(double a) {
  return polynomial(a, 5.132629396884969e-07, 1.1283739915125985, 0.636644055951033,
                    0.10270228754598434, -0.018988037918971384, -0.00041354208665138174,
                    0.0019189512460962709, -0.0007730475274658285, 0.0001365569537603253,
                    1.9522452993548658e-05, -2.253273230841094e-05, 8.578739612031142e-06,
                    -2.114789754007243e-06, 3.6956349697286383e-07, -4.5932933398884895e-08,
                    3.889985430909041e-09, -2.0203258565334092e-10, 4.865053780708692e-12);
}

template <class T>
FOVEA_INLINE T erf(T x) {
  const T a = magnitude(x) > Ieee<T>::erf_max ? Ieee<T>::erf_max : magnitude(x);
  const T near = x + x * erf_excess(a * a);
  const T far = with_sign_of(1 - exp_nonpositive(-minus_log_erfc(a)), x);
  return a < 1 ? near : far;
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA
