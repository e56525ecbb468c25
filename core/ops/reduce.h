// Reductions over any axes. Names and semantics are PyTorch's; a negative axis counts from the end,
// and keepdim leaves a size of 1 where an axis was reduced. Gradients exist for f32 and f64.
//
// Special values: a sum, mean or variance is inf only where the result is out of range, not where
// part of the sum is. The variance of equal numbers is 0. inf - inf and NaN give NaN.
#pragma once

#include <fovea/core/tensor.h>

#include <utility>

namespace fovea {

/// Which axes to reduce: sum(x), sum(x, -1), sum(x, {0, 2}). None named means all.
class Axes : public Dims {
 public:
  Axes() = default;
  Axes(int64_t axis) : Dims{axis} {}
  Axes(std::initializer_list<int64_t> axes) : Dims(axes) {}
};

/// Of bool: how many are true, as i64. Of nothing: 0. Sums of i64 wrap, as PyTorch's do.
Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// f32 and f64. Of nothing: NaN.
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// Sum of squared deviations from the mean / (n - correction); 1 is the unbiased estimate from a
/// sample, 0 the variance of the numbers themselves.
Tensor var(const Tensor& x, const Axes& axes = {}, double correction = 1.0, bool keepdim = false);

/// The largest (smallest) number; NaN if there is one. Not for bool. Equal largest numbers share
/// the gradient evenly (PyTorch's amax, amin).
Tensor max(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor min(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// The largest (smallest) number along one axis, and where it stands first (i64); the gradient goes
/// there alone.
std::pair<Tensor, Tensor> max_with_index(const Tensor& x, int64_t axis, bool keepdim = false);
std::pair<Tensor, Tensor> min_with_index(const Tensor& x, int64_t axis, bool keepdim = false);

/// Where the largest (smallest) number stands first: along an axis, or in row-major order. i64.
Tensor argmax(const Tensor& x);
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmin(const Tensor& x);
Tensor argmin(const Tensor& x, int64_t axis, bool keepdim = false);

/// log(sum(exp(x))) without overflow. Of nothing, or of nothing but -inf: -inf, with gradient 0.
/// With an inf: inf, and its gradient is NaN there.
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// y[i] = x[0] + ... + x[i] along an axis.
Tensor cumsum(const Tensor& x, int64_t axis);

/// The sum of `grad` over the axes that broadcasting `shape` to grad's shape has added or
/// stretched: the gradient of that broadcasting. `grad` itself where the shapes are equal.
Tensor sum_to(const Tensor& grad, const Shape& shape);

}  // namespace fovea
