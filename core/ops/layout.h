// Reshaping, reordering, slicing and joining. Names, axes and defaults are PyTorch's; a negative
// axis counts from the end.
//
// A "view" shares its storage with x and copies no elements; a "copy" is a new dense tensor.
#pragma once

#include <fovea/core/tensor.h>

#include <vector>

namespace fovea {

// ---- Shape -------------------------------------------------------------------------------------

/// The elements of x in row-major order, with another shape; one size may be -1 and is inferred. A
/// view where x's strides allow it, else a copy.
Tensor reshape(const Tensor& x, const Shape& shape);

/// Like reshape(), but never copies: ShapeError if a copy would be required.
Tensor view(const Tensor& x, const Shape& shape);

/// Removes all axes of size 1, or `axis` if its size is 1. A view.
Tensor squeeze(const Tensor& x);
Tensor squeeze(const Tensor& x, int64_t axis);

/// Inserts an axis of size 1 at index `axis` of the result. A view.
Tensor unsqueeze(const Tensor& x, int64_t axis);

/// Repeats x to `shape` by NumPy's broadcasting; a size of -1 keeps x's. A view with strides 0.
Tensor expand(const Tensor& x, const Shape& shape);

/// expand() without the -1.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

// ---- Order -------------------------------------------------------------------------------------

/// Swaps two axes. A view.
Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1);

/// Axis i of the result is axis axes[i] of x. A view.
Tensor permute(const Tensor& x, const Dims& axes);

/// Reverses the order along the given axes. A copy.
Tensor flip(const Tensor& x, const Dims& axes);

// ---- Parts -------------------------------------------------------------------------------------

/// x[start:end:step] along `axis`, as in Python: negative bounds count from the end, bounds out of
/// range are clamped; step >= 1. A view.
Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t end, int64_t step = 1);

/// `length` elements along `axis` from `start` on, all of which must exist. A view.
Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length);

/// Element `index` of an axis, which is removed. A view.
Tensor select(const Tensor& x, int64_t axis, int64_t index);

/// Adds pads[2 i] elements of `value` before and pads[2 i + 1] after the i-th axis from the end. A
/// copy.
Tensor pad(const Tensor& x, const std::vector<int64_t>& pads, double value = 0.0);

// ---- Joining and splitting ---------------------------------------------------------------------

/// Concatenates along `axis`; all other sizes must be equal. A copy.
Tensor concat(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Joins tensors of equal shape along a new axis. A copy.
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis = 0);

/// Parts of the given sizes, whose sum must be the size of the axis. Views.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);

/// Parts of `size`, the last one possibly smaller. Views.
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis = 0);

/// At most n parts of ceil(axis size / n), the last one possibly smaller. Views.
std::vector<Tensor> chunk(const Tensor& x, int64_t n, int64_t axis = 0);

/// select(x, axis, i) for every i. Views.
std::vector<Tensor> unbind(const Tensor& x, int64_t axis = 0);

}  // namespace fovea
