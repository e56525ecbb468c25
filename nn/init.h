// Parameter initialization. Each function fills `w` in place from `rng`; w is (fan_out, fan_in,
// ...), as in PyTorch.
#pragma once

#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

namespace fovea::nn::init {

/// A new parameter with values from U(-b, b), b = 1 / sqrt(inputs), as in PyTorch's Linear and
/// RNNs.
Tensor uniform_parameter(const Shape& shape, std::int64_t inputs, Rng& rng);

void uniform(Tensor& w, double low, double high, Rng& rng);
void normal(Tensor& w, double mean, double stddev, Rng& rng);

/// U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)).    Glorot and Bengio 2010, AISTATS, eq. 16
void xavier_uniform(Tensor& w, Rng& rng, double gain = 1.0);
/// N(0, s^2), s = gain sqrt(2 / (fan_in + fan_out)).   ibid., eq. 12
void xavier_normal(Tensor& w, Rng& rng, double gain = 1.0);
/// U(-b, b), b = gain sqrt(3 / fan_in); gain sqrt(2) for ReLU.   He et al. 2015, ICCV, section 2.2
void kaiming_uniform(Tensor& w, Rng& rng, double gain = 1.4142135623730951);
/// N(0, s^2), s = gain / sqrt(fan_in).                            ibid.
void kaiming_normal(Tensor& w, Rng& rng, double gain = 1.4142135623730951);
/// Rows (or columns, whichever are fewer) orthonormal, times gain.    Saxe et al. 2014, ICLR,
/// section 3.
/// ShapeError unless w is a matrix.
void orthogonal(Tensor& w, Rng& rng, double gain = 1.0);

}  // namespace fovea::nn::init
