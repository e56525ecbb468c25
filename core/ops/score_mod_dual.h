// Dual: a value together with its derivatives with respect to N variables, for the lambdas of
// score_mod().
//
// Forward-mode differentiation (Griewank and Walther, Evaluating Derivatives, 2008, section 3.1):
// each function computes its value and, by the chain rule, its partial derivatives. T is float or
// double, or a Dual itself: then the partial derivatives have partial derivatives, which gives a
// second derivative. With N = 0 it is a plain number, without overhead.
//
// Functions: + - * /, comparisons (of the values), exp, log, tanh, sigmoid, sqrt, abs, max, min,
// pow(x, constant), where(condition, a, b). Constants of any arithmetic type can be mixed in. Where
// a function is not differentiable, the derivative is that of elementwise.h: abs 0 at 0; max and
// min of equal operands one half to each.
#pragma once

#include <array>
#include <cmath>
#include <type_traits>

namespace fovea {

template <class T, int N>
struct Dual;

namespace detail {
template <class T>
inline constexpr bool is_dual = false;
template <class T, int N>
inline constexpr bool is_dual<Dual<T, N>> = true;

template <class A>
concept Arithmetic = std::is_arithmetic_v<A>;
}  // namespace detail

template <class T, int N>
struct Dual {
  T value{};
  [[no_unique_address]] std::array<T, N> partial{};

  Dual() = default;
  template <detail::Arithmetic A>
  Dual(A constant) : value(static_cast<T>(constant)) {}
  explicit Dual(const T& v) requires detail::is_dual<T> : value(v) {}
  /// The variable with index i: its own partial derivative is 1.
  static Dual variable(const T& v, int i) {
    Dual x;
    x.value = v;
    if constexpr (N > 0) x.partial[static_cast<std::size_t>(i)] = T(1);
    return x;
  }

  /// f(x), from its value and its derivative at x: the chain rule.
  friend Dual chain(const Dual& x, const T& y, const T& dy_dx) {
    Dual r;
    r.value = y;
    for (std::size_t i = 0; i < N; ++i) r.partial[i] = dy_dx * x.partial[i];
    return r;
  }
  friend Dual chain(const Dual& a, const Dual& b, const T& y, const T& dy_da, const T& dy_db) {
    Dual r;
    r.value = y;
    for (std::size_t i = 0; i < N; ++i) r.partial[i] = dy_da * a.partial[i] + dy_db * b.partial[i];
    return r;
  }

  friend Dual operator+(const Dual& a, const Dual& b) {
    Dual r;
    r.value = a.value + b.value;
    for (std::size_t i = 0; i < N; ++i) r.partial[i] = a.partial[i] + b.partial[i];
    return r;
  }
  friend Dual operator-(const Dual& a, const Dual& b) {
    Dual r;
    r.value = a.value - b.value;
    for (std::size_t i = 0; i < N; ++i) r.partial[i] = a.partial[i] - b.partial[i];
    return r;
  }
  friend Dual operator*(const Dual& a, const Dual& b) {
    return chain(a, b, a.value * b.value, b.value, a.value);
  }
  friend Dual operator/(const Dual& a, const Dual& b) {
    const T inverse = T(1) / b.value, y = a.value * inverse;
    return chain(a, b, y, inverse, -(y * inverse));
  }
  friend Dual operator-(const Dual& x) { return chain(x, -x.value, T(-1)); }
  friend Dual operator+(const Dual& x) { return x; }

  // With constants, which have no partial derivatives.
  template <detail::Arithmetic A>
  friend Dual operator+(const Dual& x, A c) {
    Dual r = x;
    r.value = x.value + static_cast<T>(c);
    return r;
  }
  template <detail::Arithmetic A>
  friend Dual operator+(A c, const Dual& x) {
    return x + c;
  }
  template <detail::Arithmetic A>
  friend Dual operator-(const Dual& x, A c) {
    Dual r = x;
    r.value = x.value - static_cast<T>(c);
    return r;
  }
  template <detail::Arithmetic A>
  friend Dual operator-(A c, const Dual& x) {
    return chain(x, static_cast<T>(c) - x.value, T(-1));
  }
  template <detail::Arithmetic A>
  friend Dual operator*(const Dual& x, A c) {
    return chain(x, x.value * static_cast<T>(c), static_cast<T>(c));
  }
  template <detail::Arithmetic A>
  friend Dual operator*(A c, const Dual& x) {
    return x * c;
  }
  template <detail::Arithmetic A>
  friend Dual operator/(const Dual& x, A c) {
    return chain(x, x.value / static_cast<T>(c), T(1) / static_cast<T>(c));
  }
  template <detail::Arithmetic A>
  friend Dual operator/(A c, const Dual& x) {
    const T inverse = T(1) / x.value, y = static_cast<T>(c) * inverse;
    return chain(x, y, -(y * inverse));
  }
  Dual& operator+=(const Dual& x) { return *this = *this + x; }
  Dual& operator-=(const Dual& x) { return *this = *this - x; }
  Dual& operator*=(const Dual& x) { return *this = *this * x; }
  Dual& operator/=(const Dual& x) { return *this = *this / x; }

  friend bool operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend bool operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend bool operator>(const Dual& a, const Dual& b) { return b < a; }
  friend bool operator<=(const Dual& a, const Dual& b) { return a.value <= b.value; }
  friend bool operator>=(const Dual& a, const Dual& b) { return b <= a; }

  friend Dual exp(const Dual& x) {
    using std::exp;
    const T y = exp(x.value);
    return chain(x, y, y);
  }
  friend Dual log(const Dual& x) {
    using std::log;
    return chain(x, log(x.value), T(1) / x.value);
  }
  friend Dual tanh(const Dual& x) {
    using std::tanh;
    const T y = tanh(x.value);
    return chain(x, y, T(1) - y * y);
  }
  friend Dual sigmoid(const Dual& x) { return 0.5 + 0.5 * tanh(0.5 * x); }
  friend Dual sqrt(const Dual& x) {
    using std::sqrt;
    const T y = sqrt(x.value);
    return chain(x, y, T(1) / (y + y));
  }
  friend Dual abs(const Dual& x) {
    const T sign = x.value > T(0) ? T(1) : x.value < T(0) ? T(-1) : T(0);
    return chain(x, x.value < T(0) ? -x.value : x.value, sign);
  }
  friend Dual max(const Dual& a, const Dual& b) {
    if (a.value == b.value) return 0.5 * (a + b);
    return b.value < a.value || a.value != a.value ? a : b;  // propagates NaN
  }
  friend Dual min(const Dual& a, const Dual& b) {
    if (a.value == b.value) return 0.5 * (a + b);
    return a.value < b.value || a.value != a.value ? a : b;
  }
  /// x^p for a constant p; derivative 0 everywhere if p = 0.
  friend Dual pow(const Dual& x, double p) {
    using std::pow;
    if constexpr (detail::is_dual<T>) {
      return chain(x, pow(x.value, p), p == 0 ? T(0) : p * pow(x.value, p - 1));
    } else {
      const T q = static_cast<T>(p);
      return chain(x, pow(x.value, q), p == 0 ? T(0) : q * pow(x.value, q - 1));
    }
  }
  /// condition ? a : b, for any two types that can be mixed.
  friend Dual where(bool condition, const Dual& a, const Dual& b) { return condition ? a : b; }
};

}  // namespace fovea
