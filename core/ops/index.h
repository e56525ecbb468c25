// Gathering, adding and selecting by an i64 index or a bool mask. Names and semantics are
// PyTorch's. An index out of range is an IndexError that reports its position. Contributions to the
// same element are added in the order of the index, for any number of threads.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// The rows of `weight` selected by `ids`; ids equal to padding_idx give no gradient.
///   weight: (V, C)   ids: (...)   ->   (..., C)
Tensor embedding(const Tensor& weight, const Tensor& ids, int64_t padding_idx = -1);

/// y[..., m, ...] = x[..., index[m], ...].   index: (M)
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index);

/// x plus source[..., m, ...] at [..., index[m], ...].   index: (M)   Returns a new tensor.
Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);

/// y[i][m][j] = x[i][index[i][m][j]][j], shown for axis 1. index has the rank of x and, on all
/// other axes, the sizes of x (PyTorch also accepts smaller ones).
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index);

/// x plus source[i][m][j] at [i][index[i][m][j]][j], shown for axis 1. index and source have the
/// same shape, which on all other axes has the sizes of x. Returns a new tensor.
Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source);

/// 1 at the class, 0 elsewhere.   ids: (...)   ->   (..., classes)
Tensor one_hot(const Tensor& ids, int64_t classes, DType dtype = DType::i64);

/// The elements of x where `keep` (bool; the two are broadcast) is true, in row-major order.
Tensor masked_select(const Tensor& x, const Tensor& keep);

/// The elements of x at the positions that the mask allows.   x: (T, S) or (B, T, S)
Tensor masked_select(const Tensor& x, const Mask& mask);

/// x, with `value` where `mask` (bool, broadcast to x) is true.
Tensor masked_fill(const Tensor& x, const Tensor& mask, double value);

}  // namespace fovea
