// Dropout.
#pragma once

#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// In training, each element is 0 with probability p and x / (1 - p) otherwise, so that the mean is
/// preserved; outside training, or with p = 0, the result is x itself. 0 <= p <= 1.
/// Consumes x.numel() random words of `rng`; saves nothing else for backward.
/// Srivastava et al.: Dropout, JMLR 2014, section 4 (there the scaling is done at test time).
Tensor dropout(const Tensor& x, double p, Rng& rng, bool training = true);

/// dropout(max(x, 0)) in one pass. The backward needs no random numbers: only the result is saved,
/// which is 0 where x was dropped or negative.
///   dx = 0 where y <= 0, else dy / (1 - p)
/// NaN propagates, in the forward and the backward. ValueError unless 0 <= p <= 1. Reference
/// implementation, with the same bits: dropout(relu(x), p, rng, training).
Tensor relu_dropout(const Tensor& x, double p, Rng& rng, bool training = true);

}  // namespace fovea
