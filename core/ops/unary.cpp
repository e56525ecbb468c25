// Functions of one tensor. The forward formulas are in core/kernels/map_simd.cpp; the derivative of
// each op, written in ops for second derivatives, is here.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/float_mode.h>
#include <fovea/core/kernels/map.h>
#include <fovea/core/ops/elementwise.h>

#include <cmath>
#include <numbers>

namespace fovea {
namespace {

using kernels::Unary;
using kernels::UnaryArgs;

// The variable of a derivative: y if possible, as the next op usually saves that anyway.
enum class Keeps { output, input };

// y = f(x)
Tensor value(std::string_view op, Unary f, const Tensor& x, UnaryArgs args) {
  if (!x.is_contiguous()) return value(op, f, without_graph(x).contiguous(), args);
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), op, [&]<class T>() {
    kernels::unary<T>(f, x.data<T>(), y.mutable_data<T>(), x.numel(), args);
  });
  return y;
}

// dx = dy f'(x), with `kept` = x or y
Tensor gradient(std::string_view op, Unary f, const Tensor& dy, const Tensor& kept,
                UnaryArgs args) {
  if (!kept.is_contiguous()) return gradient(op, f, dy, without_graph(kept).contiguous(), args);
  Tensor dx = empty(dy.shape(), dy.dtype());
  dispatch_float(dy.dtype(), op, [&]<class T>() {
    kernels::unary_gradient<T>(f, dy.data<T>(), kept.data<T>(), dx.mutable_data<T>(), dy.numel(),
                               args);
  });
  return dx;
}

template <detail::OpName Name>
constexpr std::string_view op_name = Name.chars;

// Every op of this file: y = f(x), recorded. `composed`(dy, kept) is dx in ops.
template <detail::OpName Name, Unary f, Keeps keeps, class Composed>
Tensor unary(const Tensor& x, Composed composed, UnaryArgs args = {}) {
  check_defined(op_name<Name>, "x", x);
  const auto backward = [composed, args](const Tensor& dy, const Tensor& kept) -> Grads {
    if (grad_enabled()) return composed(dy, kept);
    return gradient(op_name<Name>, f, dy, kept, args);
  };
  const kernels::FloatMode mode;  // constructed first: leaving it waits for the kernel
  Tensor y = value(op_name<Name>, f, x, args);
  if constexpr (keeps == Keeps::output) {
    return record<Name>(
        std::move(y), {x},
        [backward](const Tensor& dy, const Tensor& kept, NeedsGrad) { return backward(dy, kept); });
  } else {
    return record<Name>(std::move(y), {x}, [backward, x = keep(x)](const Tensor& dy, NeedsGrad) {
      return backward(dy, x);
    });
  }
}

// Beyond these bounds the activations equal their limits; 0 times infinity would be NaN.
Tensor bounded(const Tensor& x) { return clamp(x, -1000, 1000); }

// Phi and phi, the CDF and the density of the normal distribution.
Tensor normal_cdf(const Tensor& x) { return 0.5 * (1.0 + erf(x * std::sqrt(0.5))); }
Tensor normal_density(const Tensor& x) {
  return exp(-0.5 * square(x)) * (0.5 * std::numbers::inv_sqrtpi * std::numbers::sqrt2);
}

}  // namespace

// y = x^2    dx = 2 dy x
Tensor square(const Tensor& x) {
  return unary<"square", Unary::square, Keeps::input>(
      x, [](const Tensor& dy, const Tensor& in) { return 2.0 * dy * in; });
}

// y = sqrt(x)    dx = dy / (2 y)
Tensor sqrt(const Tensor& x) {
  return unary<"sqrt", Unary::sqrt, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return 0.5 * dy / y; });
}

// y = x^(-1/2)    dx = -dy y^3 / 2
Tensor rsqrt(const Tensor& x) {
  return unary<"rsqrt", Unary::rsqrt, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return -0.5 * dy * square(y) * y; });
}

// y = exp(x)    dx = dy y
Tensor exp(const Tensor& x) {
  return unary<"exp", Unary::exp, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return dy * y; });
}

// y = log(x)    dx = dy / x
Tensor log(const Tensor& x) {
  return unary<"log", Unary::log, Keeps::input>(
      x, [](const Tensor& dy, const Tensor& in) { return dy / in; });
}

// y = erf(x)    dx = 2 / sqrt(pi) dy exp(-x^2)
Tensor erf(const Tensor& x) {
  return unary<"erf", Unary::erf, Keeps::input>(x, [](const Tensor& dy, const Tensor& in) {
    return 2.0 * std::numbers::inv_sqrtpi * dy * exp(-square(bounded(in)));
  });
}

// y = tanh(x)    dx = dy (1 - y^2)
Tensor tanh(const Tensor& x) {
  return unary<"tanh", Unary::tanh, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return dy * (1.0 - square(y)); });
}

// y = 1 / (1 + exp(-x))    dx = dy y (1 - y)
Tensor sigmoid(const Tensor& x) {
  return unary<"sigmoid", Unary::sigmoid, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return dy * y * (1.0 - y); });
}

// y = max(x, 0)    dx = dy where y > 0, else 0
Tensor relu(const Tensor& x) {
  return unary<"relu", Unary::relu, Keeps::output>(
      x, [](const Tensor& dy, const Tensor& y) { return where(y <= 0.0, 0.0, dy); });
}

// y = x where x > 0, else slope x    dx = dy where x > 0, else slope dy      (Maas et al. 2013)
Tensor leaky_relu(const Tensor& x, double slope) {
  if (slope == 0) return relu(x);  // 0 * -inf
  return unary<"leaky_relu", Unary::leaky_relu, Keeps::input>(
      x, [slope](const Tensor& dy, const Tensor& in) { return where(in > 0.0, dy, slope * dy); },
      {.a = slope});
}

// y = x Phi(x)    dx = dy (Phi(x) + x phi(x))          Hendrycks and Gimpel 2016, Gaussian Error
// or, approximately, with t = tanh(sqrt(2 / pi) (x + 0.044715 x^3)):                Linear Units
// y = x (1 + t) / 2    dx = dy / 2 (1 + t + x (1 - t^2) sqrt(2 / pi) (1 + 3 * 0.044715 x^2))
Tensor gelu(const Tensor& x, Gelu form) {
  if (form == Gelu::erf)
    return unary<"gelu", Unary::gelu, Keeps::input>(x, [](const Tensor& dy, const Tensor& kept) {
      const Tensor in = bounded(kept);
      return dy * (normal_cdf(in) + in * normal_density(in));
    });
  return unary<"gelu_tanh", Unary::gelu_tanh, Keeps::input>(
      x, [](const Tensor& dy, const Tensor& kept) {
        const Tensor in = bounded(kept);
        const double c = std::sqrt(2 * std::numbers::inv_pi), cubic = 0.044715;
        const Tensor t = tanh(c * (in + cubic * square(in) * in));
        const Tensor dt = (1.0 - square(t)) * (c + 3 * cubic * c * square(in));
        return 0.5 * dy * (1.0 + t + in * dt);
      });
}

// y = x s with s = sigmoid(x)    dx = dy s (1 + x (1 - s))      (Elfwing et al. 2018)
Tensor silu(const Tensor& x) {
  return unary<"silu", Unary::silu, Keeps::input>(x, [](const Tensor& dy, const Tensor& kept) {
    const Tensor in = bounded(kept), s = sigmoid(in);
    return dy * s * (1.0 + in * (1.0 - s));
  });
}

// y = log(1 + exp(x))    dx = dy sigmoid(x)
Tensor softplus(const Tensor& x) {
  return unary<"softplus", Unary::softplus, Keeps::input>(
      x, [](const Tensor& dy, const Tensor& in) { return dy * sigmoid(in); });
}

// y = |x|    dx = dy sign(x)
Tensor abs(const Tensor& x) {
  return unary<"abs", Unary::abs, Keeps::input>(x, [](const Tensor& dy, const Tensor& in) {
    return where(in > 0.0, dy, where(in < 0.0, -dy, 0.0));
  });
}

// y = min(max(x, low), high)    dx = dy where low <= x <= high, else 0
Tensor clamp(const Tensor& x, double low, double high) {
  if (!(low <= high))
    value_error("clamp", "low = {}, high = {}: low must not exceed high", low, high);
  return unary<"clamp", Unary::clamp, Keeps::input>(
      x,
      [low, high](const Tensor& dy, const Tensor& in) {
        return where(logical_and(in >= low, in <= high), dy, 0.0);
      },
      {.a = low, .b = high});
}

}  // namespace fovea
