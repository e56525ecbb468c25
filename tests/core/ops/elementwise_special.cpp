#include <fovea/core/ops/elementwise.h>

#include <cmath>

#include "special_values.h"

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;
using Scalar = std::function<Real(Real)>;
using Scalar2 = std::function<Real(Real, Real)>;

// Errors, in eps: relative to the value, and absolute.
struct Bounds {
  Real relative = 4, absolute = 0;
};

std::vector<std::vector<Reals>> single(const Reals& numbers) {
  std::vector<std::vector<Reals>> rows;
  for (const Real x : numbers) rows.push_back({{x}});
  return rows;
}

// y = f(x), dx = dy slope(x). The derivative at NaN is unspecified.
SpecialCase unary(std::string op, std::function<Tensor(const Tensor&)> op_f, Scalar f, Scalar slope,
                  Bounds value = {}, Bounds derivative = {}, const Reals& extra = {}) {
  Reals numbers = special_numbers();
  numbers.insert(numbers.end(), extra.begin(), extra.end());
  return {
      std::move(op), [op_f](const Inputs& in) { return op_f(in[0]); }, nullptr,
      [=](const std::vector<Reals>& in, const Reals& dy, Real eps) {
        const Real x = in[0][0], y = f(x), dx = dy[0] * slope(x);
        Expected e;
        e.value = {y};
        e.value_error = {eps * (value.relative * std::abs(y) + value.absolute)};
        if (std::isnan(x)) return e;
        e.gradients = {{dx}};
        e.gradient_errors = {{eps * (derivative.relative * std::abs(dx) + derivative.absolute)}};
        return e;
      },
      single(numbers)};
}

Real limit(Real x, Real below, Real above) { return x < 0 ? below : above; }

Real cdf(Real x) { return std::erfc(-x / std::sqrt(2.0L)) / 2; }
Real density(Real x) { return std::exp(-x * x / 2) * 0.39894228040143267794L; }
Real gelu_value(Real x) { return std::isinf(x) ? limit(x, 0, kInf) : x * cdf(x); }
Real gelu_slope(Real x) { return std::isinf(x) ? limit(x, 0, 1) : cdf(x) + x * density(x); }
Real tanh_argument(Real x) { return 0.79788456080286535588L * (x + 0.044715L * x * x * x); }
Real gelu_tanh_value(Real x) {
  if (std::abs(x) > 1000) return limit(x, 0, x);
  return x / 2 * (1 + std::tanh(tanh_argument(x)));
}
Real gelu_tanh_slope(Real x) {
  if (std::abs(x) > 1000) return limit(x, 0, 1);
  const Real t = std::tanh(tanh_argument(x)), cosh = std::cosh(tanh_argument(x));
  const Real dt = std::isinf(cosh) ? 0 : 1 / (cosh * cosh);
  return (1 + t + x * dt * 0.79788456080286535588L * (1 + 3 * 0.044715L * x * x)) / 2;
}
Real sigmoid_of(Real x) { return 1 / (1 + std::exp(-x)); }
Real silu_value(Real x) { return std::isinf(x) ? limit(x, 0, kInf) : x * sigmoid_of(x); }
Real silu_slope(Real x) {
  if (std::abs(x) > 11000) return limit(x, 0, 1);
  return sigmoid_of(x) * (1 + x * sigmoid_of(-x));
}
Real softplus_of(Real x) { return x > 60 ? x : std::log1p(std::exp(x)); }

// The CDF is computed as 1 + erf, and the derivatives of tanh and sigmoid from the output: errors
// are relative to 1, not to the result.
const bool unary_added = add_special_cases({
    unary(
        "exp", [](const Tensor& x) { return exp(x); }, [](Real x) { return std::exp(x); },
        [](Real x) { return std::exp(x); }),
    unary(
        "log", [](const Tensor& x) { return log(x); },
        [](Real x) { return x < 0 ? kNaN : std::log(x); }, [](Real x) { return 1 / x; }),
    unary(
        "sqrt", [](const Tensor& x) { return sqrt(x); },
        [](Real x) { return x < 0 ? kNaN : std::sqrt(x); },
        [](Real x) { return x < 0 ? kNaN : 0.5L / std::sqrt(x); }),
    unary(
        "rsqrt", [](const Tensor& x) { return rsqrt(x); },
        [](Real x) { return x < 0 ? kNaN : 1 / std::sqrt(x); },
        [](Real x) { return x < 0           ? kNaN
                            : std::isinf(x) ? 0
                                            : -0.5L / x / std::sqrt(x); }, {},
        {8, 0}),
    unary(
        "square", [](const Tensor& x) { return square(x); }, [](Real x) { return x * x; },
        [](Real x) { return 2 * x; }),
    unary(
        "tanh", [](const Tensor& x) { return tanh(x); }, [](Real x) { return std::tanh(x); },
        [](Real x) { return 1 / std::cosh(x) / std::cosh(x); }, {}, {4, 8}),
    unary(
        "sigmoid", [](const Tensor& x) { return sigmoid(x); }, sigmoid_of,
        [](Real x) { return sigmoid_of(x) * sigmoid_of(-x); }, {}, {8, 4}),
    unary(
        "erf", [](const Tensor& x) { return erf(x); }, [](Real x) { return std::erf(x); },
        [](Real x) { return 1.12837916709551257390L * std::exp(-x * x); }, {}, {200, 0}),
    unary(
        "relu", [](const Tensor& x) { return relu(x); }, [](Real x) { return x < 0 ? 0 : x; },
        [](Real x) { return x > 0 ? 1 : 0; }),
    unary(
        "leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.25); },
        [](Real x) { return x < 0 ? x / 4 : x; }, [](Real x) { return x > 0 ? 1 : 0.25L; }),
    unary(
        "leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0); },
        [](Real x) { return x < 0 ? 0 : x; }, [](Real x) { return x > 0 ? 1 : 0; }),
    unary("gelu", [](const Tensor& x) { return gelu(x); }, gelu_value, gelu_slope, {8, 20}, {8, 8},
          {5e2L, -7e2L}),
    unary("gelu_tanh", [](const Tensor& x) { return gelu(x, Gelu::tanh); }, gelu_tanh_value,
          gelu_tanh_slope, {8, 20}, {8, 20}),
    unary("silu", [](const Tensor& x) { return silu(x); }, silu_value, silu_slope, {8, 0}, {8, 40}),
    unary(
        "softplus", [](const Tensor& x) { return softplus(x); }, softplus_of, sigmoid_of),
    unary(
        "abs", [](const Tensor& x) { return abs(x); }, [](Real x) { return std::abs(x); },
        [](Real x) { return x > 0   ? 1
                            : x < 0 ? -1
                                    : 0; }),
    unary(
        "clamp", [](const Tensor& x) { return clamp(x, -2, 3); },
        [](Real x) { return std::isnan(x) ? x : std::clamp(x, -2.0L, 3.0L); },
        [](Real x) { return x >= -2 && x <= 3 ? 1 : 0; }),
});

SpecialCase power(double p) {
  return unary(
      "pow_number", [p](const Tensor& x) { return pow(x, p); },
      [p](Real x) { return std::pow(x, Real{p}); },
      [p](Real x) { return p == 0 ? 0 : p * std::pow(x, Real{p} - 1); }, {8, 0}, {8, 0});
}

const bool number_added = add_special_cases({
    power(0),
    power(1),
    power(3),
    power(0.5),
    power(-1.5),
    unary(
        "add_number", [](const Tensor& x) { return x + 2.0; }, [](Real x) { return x + 2; },
        [](Real) { return 1; }),
    unary(
        "number_sub", [](const Tensor& x) { return 2.0 - x; }, [](Real x) { return 2 - x; },
        [](Real) { return -1; }),
    unary(
        "mul_number", [](const Tensor& x) { return x * 3.0; }, [](Real x) { return 3 * x; },
        [](Real) { return 3; }),
    unary(
        "div_number", [](const Tensor& x) { return x / 3.0; }, [](Real x) { return x / 3; },
        [](Real) { return 1.0L / 3; }),
});

// y = f(a, b) for all pairs of some values.
SpecialCase binary(std::string op, std::function<Tensor(const Tensor&, const Tensor&)> op_f,
                   Scalar2 f, Scalar2 by_a, Scalar2 by_b, const Reals& as, const Reals& bs) {
  std::vector<std::vector<Reals>> rows;
  for (const Real a : as)
    for (const Real b : bs) rows.push_back({{a}, {b}});
  return {std::move(op), [op_f](const Inputs& in) { return op_f(in[0], in[1]); }, nullptr,
          [=](const std::vector<Reals>& in, const Reals& dy, Real eps) {
            const Real a = in[0][0], b = in[1][0], y = f(a, b);
            Expected e{{y}, {8 * eps * std::abs(y)}, {}, {}};
            if (std::isnan(a) || std::isnan(b)) return e;
            const Real da = dy[0] * by_a(a, b), db = dy[0] * by_b(a, b);
            e.gradients = {{da}, {db}};
            e.gradient_errors = {{8 * eps * std::abs(da)}, {8 * eps * std::abs(db)}};
            return e;
          },
          rows};
}

const Reals kSome{0,     kNaN,  1e-42L, 1e-30L, -1e-25L, 1,    -2,
                  3e10L, 1e20L, -1e25L, 3e38L,  -1e38L,  kInf, -kInf};

const bool binary_added = add_special_cases({
    binary(
        "add", [](const Tensor& a, const Tensor& b) { return a + b; }, std::plus<Real>(),
        [](Real, Real) { return 1; }, [](Real, Real) { return 1; }, kSome, kSome),
    binary(
        "sub", [](const Tensor& a, const Tensor& b) { return a - b; }, std::minus<Real>(),
        [](Real, Real) { return 1; }, [](Real, Real) { return -1; }, kSome, kSome),
    binary(
        "mul", [](const Tensor& a, const Tensor& b) { return a * b; }, std::multiplies<Real>(),
        [](Real, Real b) { return b; }, [](Real a, Real) { return a; }, kSome, kSome),
    binary(
        "div", [](const Tensor& a, const Tensor& b) { return a / b; }, std::divides<Real>(),
        [](Real, Real b) { return 1 / b; }, [](Real a, Real b) { return -a / (b * b); }, kSome,
        kSome),
    binary(
        "maximum", [](const Tensor& a, const Tensor& b) { return maximum(a, b); },
        [](Real a, Real b) { return std::isnan(a) || a > b ? a : b; },
        [](Real a, Real b) { return a == b  ? 0.5L
                                    : a > b ? 1
                                            : 0; },
        [](Real a, Real b) { return a == b  ? 0.5L
                                    : a > b ? 0
                                            : 1; }, kSome, kSome),
    binary(
        "minimum", [](const Tensor& a, const Tensor& b) { return minimum(a, b); },
        [](Real a, Real b) { return std::isnan(a) || a < b ? a : b; },
        [](Real a, Real b) { return a == b  ? 0.5L
                                    : a < b ? 1
                                            : 0; },
        [](Real a, Real b) { return a == b  ? 0.5L
                                    : a < b ? 0
                                            : 1; }, kSome, kSome),
    binary(
        "pow", [](const Tensor& a, const Tensor& b) { return pow(a, b); },
        [](Real a, Real b) { return std::pow(a, b); },
        [](Real a, Real b) { return b == 0 ? 0 : b * std::pow(a, b - 1); },
        [](Real a, Real b) {
          const bool vanishes = (a == 0 && b >= 0) || (a == kInf && b < 0);
          return vanishes ? 0 : std::pow(a, b) * (a < 0 ? kNaN : std::log(a));
        },
        {0, 1e-30L, 0.5L, 1, 2, 1e20L, kInf, kNaN}, {-2, -1, 0, 0.5L, 1, 3}),
    binary(
        "where", [](const Tensor& a, const Tensor& b) { return where(a > 0.0, a, b); },
        [](Real a, Real b) { return a > 0 ? a : b; }, [](Real a, Real) { return a > 0 ? 1 : 0; },
        [](Real a, Real) { return a > 0 ? 0 : 1; }, kSome, kSome),
});

}  // namespace
}  // namespace fovea::test
