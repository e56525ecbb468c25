// Elementwise ops. Operands of different shapes are broadcast by NumPy's rule (axes aligned at the
// right, an axis of size 1 is repeated); their dtypes must be equal. Scalars are given as double
// and are converted to the tensor's dtype. Gradients exist for f32 and f64; + - * maximum minimum
// also take i64, where + - * wrap on overflow, as in PyTorch.
//
// Where a function is not differentiable, the derivative is PyTorch's choice, stated next to the
// declaration. NaN in, NaN out, also for maximum, minimum, relu and clamp.
//
// Special values. Values and first derivatives (and the formulas of higher ones) are the limits:
//   gelu, silu, softplus      -inf: 0, derivative 0       inf: inf, derivative 1
//   tanh, sigmoid, erf        at +-inf their limits, derivative 0
//   exp, log, sqrt, rsqrt     log(0) = -inf, rsqrt(0) = inf; log, sqrt and rsqrt below 0: NaN
//   a / b                     -a / b^2 is exact to a few ulps even where b^2 is out of range
//   a^b                       0 for a^b log(a) where a^b is 0, at a = 0 and a = inf; finite b only
//   relu, leaky_relu, abs, clamp, maximum, minimum, where
//                             the derivative of the branch, also where the input is NaN
// Errors are a few ulps of the result, except for the derivatives of tanh and sigmoid, which are
// computed from the output, and for gelu and its derivative: a few ulps of 1 and of x.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

// --- arithmetic ----------------------------------------------------------------------------------

Tensor add(const Tensor& a, const Tensor& b);
Tensor add(const Tensor& x, double s);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& x, double s);
Tensor sub(double s, const Tensor& x);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& x, double s);
Tensor div(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& x, double s);
Tensor div(double s, const Tensor& x);
Tensor neg(const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator+(const Tensor& x, double s) { return add(x, s); }
inline Tensor operator+(double s, const Tensor& x) { return add(x, s); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator-(const Tensor& x, double s) { return sub(x, s); }
inline Tensor operator-(double s, const Tensor& x) { return sub(s, x); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator*(const Tensor& x, double s) { return mul(x, s); }
inline Tensor operator*(double s, const Tensor& x) { return mul(x, s); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator/(const Tensor& x, double s) { return div(x, s); }
inline Tensor operator/(double s, const Tensor& x) { return div(s, x); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

// --- powers, exponentials ------------------------------------------------------------------------

Tensor pow(const Tensor& x, double p);         ///< derivative 0 everywhere if p = 0
Tensor pow(const Tensor& a, const Tensor& b);  ///< derivative by b is 0 at a = 0, b >= 0
Tensor square(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);  ///< 1 / sqrt(x)
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor erf(const Tensor& x);  ///< 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x

// --- activations ---------------------------------------------------------------------------------

Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);  ///< 1 / (1 + exp(-x))
Tensor relu(const Tensor& x);     ///< max(x, 0); derivative 0 at 0
Tensor leaky_relu(const Tensor& x,
                  double slope = 0.01);  ///< slope * x for x <= 0
enum class Gelu { erf, tanh };           ///< exact; Hendrycks's tanh approximation
Tensor gelu(const Tensor& x,
            Gelu form = Gelu::erf);  ///< x Phi(x), Phi: normal CDF
Tensor silu(const Tensor& x);        ///< x sigmoid(x), also called swish
Tensor softplus(const Tensor& x);    ///< log(1 + exp(x))

// --- magnitudes and selection --------------------------------------------------------------------

Tensor abs(const Tensor& x);                             ///< derivative 0 at 0
Tensor clamp(const Tensor& x, double low, double high);  ///< derivative 1 at low and high
Tensor maximum(const Tensor& a, const Tensor& b);        ///< equal operands: dy / 2 to each
Tensor minimum(const Tensor& a, const Tensor& b);        ///< equal operands: dy / 2 to each

/// condition ? a : b; `condition` is a bool tensor, and all three are broadcast.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, double b);
Tensor where(const Tensor& condition, double a, const Tensor& b);

// --- comparisons: bool tensors, no gradient ------------------------------------------------------
//
// A comparison with NaN is false, except ne. There is no operator==: it would look like a question
// about two tensors, and answer with a tensor.

Tensor eq(const Tensor& a, const Tensor& b);
Tensor ne(const Tensor& a, const Tensor& b);
Tensor lt(const Tensor& a, const Tensor& b);
Tensor le(const Tensor& a, const Tensor& b);
Tensor gt(const Tensor& a, const Tensor& b);
Tensor ge(const Tensor& a, const Tensor& b);
Tensor eq(const Tensor& x, double s);
Tensor ne(const Tensor& x, double s);
Tensor lt(const Tensor& x, double s);
Tensor le(const Tensor& x, double s);
Tensor gt(const Tensor& x, double s);
Tensor ge(const Tensor& x, double s);

inline Tensor operator<(const Tensor& a, const Tensor& b) { return lt(a, b); }
inline Tensor operator<(const Tensor& x, double s) { return lt(x, s); }
inline Tensor operator<=(const Tensor& a, const Tensor& b) { return le(a, b); }
inline Tensor operator<=(const Tensor& x, double s) { return le(x, s); }
inline Tensor operator>(const Tensor& a, const Tensor& b) { return gt(a, b); }
inline Tensor operator>(const Tensor& x, double s) { return gt(x, s); }
inline Tensor operator>=(const Tensor& a, const Tensor& b) { return ge(a, b); }
inline Tensor operator>=(const Tensor& x, double s) { return ge(x, s); }

// For any dtype: a nonzero element counts as true.
Tensor logical_not(const Tensor& x);
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);

}  // namespace fovea
