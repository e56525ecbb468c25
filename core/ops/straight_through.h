// Straight-through estimator: a hard decision in the forward, the gradient of a smooth function in
// the backward.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// y = hard,   dsoft = dy: the values of `hard` with the graph history of `soft`; both have the
/// same shape and dtype. The gradient is not that of the forward, whose derivative is 0 almost
/// everywhere: it is a biased estimate. Bengio et al. 2013, Estimating or Propagating Gradients
/// Through Stochastic Neurons for Conditional Computation, section 4. ShapeError, DTypeError.
Tensor straight_through(const Tensor& hard, const Tensor& soft);

}  // namespace fovea
