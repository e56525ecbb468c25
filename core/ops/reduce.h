// Reductions over any axes. Names and semantics are PyTorch's; a negative axis counts from the end,
// and keepdim keeps a size of 1 for each reduced axis. Gradients exist for f32 and f64.
//
// Special values: a sum, mean or variance is inf only if the result is out of range, not if a
// partial sum is. The variance of equal elements is 0. inf - inf and NaN give NaN.
#pragma once

#include <fovea/core/tensor.h>

#include <utility>

namespace fovea {

/// The axes to reduce: sum(x), sum(x, -1), sum(x, {0, 2}). Empty means all.
class Axes : public Dims {
 public:
  Axes() = default;
  Axes(int64_t axis) : Dims{axis} {}
  Axes(std::initializer_list<int64_t> axes) : Dims(axes) {}
};

/// For bool: the number of true elements, as i64. Of an empty tensor: 0. Sums of i64 wrap on
/// overflow, as in PyTorch.
Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// f32 and f64. Of an empty tensor: NaN.
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// Sum of squared deviations from the mean / (n - correction); 1 is the unbiased sample estimate, 0
/// the population variance.
Tensor var(const Tensor& x, const Axes& axes = {}, double correction = 1.0, bool keepdim = false);

/// The largest (smallest) element; NaN if there is one. Not for bool. Equal extrema share the
/// gradient evenly (as PyTorch's amax and amin).
Tensor max(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor min(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// The largest (smallest) element along one axis and the index of its first occurrence (i64); only
/// that element receives the gradient.
std::pair<Tensor, Tensor> max_with_index(const Tensor& x, int64_t axis, bool keepdim = false);
std::pair<Tensor, Tensor> min_with_index(const Tensor& x, int64_t axis, bool keepdim = false);

/// Index of the first largest (smallest) element: along an axis, or in row-major order. i64.
Tensor argmax(const Tensor& x);
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false);
Tensor argmin(const Tensor& x);
Tensor argmin(const Tensor& x, int64_t axis, bool keepdim = false);

/// log(sum(exp(x))) without overflow. Of an empty slice, or of only -inf: -inf, with gradient 0.
/// With an inf: inf, and its gradient there is NaN.
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, bool keepdim = false);

/// y[i] = x[0] + ... + x[i] along an axis.
Tensor cumsum(const Tensor& x, int64_t axis);

/// The gradient of broadcasting from `shape` to grad's shape: `grad` summed over the axes that were
/// added or expanded. `grad` itself if the shapes are equal.
Tensor sum_to(const Tensor& grad, const Shape& shape);

}  // namespace fovea
