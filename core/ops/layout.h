// The same numbers in another arrangement. Names, axes and defaults are PyTorch's; a negative axis
// counts from the end.
//
// A "view" shares its numbers with x and costs nothing but a handle; a "copy" is a dense new
// tensor.
#pragma once

#include <fovea/core/tensor.h>

#include <vector>

namespace fovea {

// ---- Other sizes -------------------------------------------------------------------------------

/// The numbers of x in row-major order, in another shape; one size may be -1: what is left over.
/// A view where x's strides allow it, else a copy.
Tensor reshape(const Tensor& x, const Shape& shape);

/// reshape() that never copies: ShapeError where it would have to.
Tensor view(const Tensor& x, const Shape& shape);

/// Without the axes of size 1, or without `axis` if its size is 1. A view.
Tensor squeeze(const Tensor& x);
Tensor squeeze(const Tensor& x, int64_t axis);

/// With a new axis of size 1 in place `axis` of the result. A view.
Tensor unsqueeze(const Tensor& x, int64_t axis);

/// x stretched to `shape` by NumPy's broadcasting; a size of -1 keeps x's. A view with strides 0.
Tensor expand(const Tensor& x, const Shape& shape);

/// expand() without the -1.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

// ---- Another order -----------------------------------------------------------------------------

/// With two axes exchanged. A view.
Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1);

/// Axis i of the result is axis axes[i] of x. A view.
Tensor permute(const Tensor& x, const Dims& axes);

/// Back to front along the given axes. A copy.
Tensor flip(const Tensor& x, const Dims& axes);

// ---- Parts -------------------------------------------------------------------------------------

/// x[start:end:step] along `axis`, as Python has it: negative borders count from the end, borders
/// beyond the tensor are pulled in; step >= 1. A view.
Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t end, int64_t step = 1);

/// `length` places from `start` on, all of which must exist. A view.
Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length);

/// One place of an axis, which disappears. A view.
Tensor select(const Tensor& x, int64_t axis, int64_t index);

/// With pads[2 i] numbers `value` before and pads[2 i + 1] after the i-th axis from the end. A
/// copy.
Tensor pad(const Tensor& x, const std::vector<int64_t>& pads, double value = 0.0);

// ---- Joining and cutting -----------------------------------------------------------------------

/// The tensors one after another along `axis`; all other sizes equal. A copy.
Tensor concat(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Equal shapes side by side along a new axis. A copy.
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Pieces of the given sizes, which add up to the axis's. Views.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);

/// Pieces of `size`, the last one perhaps smaller. Views.
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis = 0);

/// At most n pieces of ceil(axis size / n), the last one perhaps smaller. Views.
std::vector<Tensor> chunk(const Tensor& x, int64_t n, int64_t axis = 0);

/// select(x, axis, i) for every i. Views.
std::vector<Tensor> unbind(const Tensor& x, int64_t axis = 0);

}  // namespace fovea
