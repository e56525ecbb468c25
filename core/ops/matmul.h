// Matrix products of tensors. Views (transposed, sliced, expanded) are multiplied without a copy.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// The product over the last two axes; the leading axes broadcast.
///   (..., M, K) x (..., K, N) -> (..., M, N)
/// A vector on the left is a row, one on the right a column; its axis is removed from the result:
///   (K) x (..., K, N) -> (..., N)    (..., M, K) x (K) -> (..., M)    (K) x (K) -> ()
Tensor matmul(const Tensor& a, const Tensor& b);

/// y = x W^T + b; the bias is added in the same pass.
///   x: (..., in)  weight: (out, in)  bias: (out), or undefined  ->  (..., out)
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace fovea
