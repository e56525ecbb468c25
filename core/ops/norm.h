// Layer normalization and RMS normalization over the last axis, of width C.
//
// Special values: a row of equal elements gives 0 (plus bias) under layer_norm, and rows of any
// finite magnitude are normalized. A row that contains NaN or infinity has NaN value and gradient;
// other rows are not affected. A row of zeros with eps = 0 is NaN.
//
// Each function has a reference implementation in plain ops, *_reference, which the tests compare
// with.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, where var divides by C, not C - 1.
///   x, y: (..., C)      weight, bias: (C), or undefined: 1 and 0
/// Ba, Kiros, Hinton: Layer Normalization, 2016, section 3.
Tensor layer_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                  double eps = 1e-5);
Tensor layer_norm_reference(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                            double eps = 1e-5);

/// y = weight * x / sqrt(mean(x^2) + eps)
///   x, y: (..., C)      weight: (C), or undefined: 1
/// Zhang, Sennrich: Root Mean Square Layer Normalization, 2019, equation 4.
Tensor rms_norm(const Tensor& x, const Tensor& weight = {}, double eps = 1e-6);
Tensor rms_norm_reference(const Tensor& x, const Tensor& weight = {}, double eps = 1e-6);

}  // namespace fovea
