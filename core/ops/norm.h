// Layer normalisation and RMS normalisation over the last axis, of width C.
//
// Special values: rows of equal numbers give 0 (plus bias) under layer_norm, and rows of any finite
// size are normalized. A row that holds NaN or an infinity is NaN, value and gradient; no other row
// is. A row of zeros with eps = 0 is NaN.
//
// Each has a slow twin, *_reference, made of plain ops: the definition, and what the tests compare
// with.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, with the variance over C, not C - 1.
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
