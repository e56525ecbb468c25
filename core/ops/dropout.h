// Dropout.
#pragma once

#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// While training, each entry is 0 with probability p and x / (1 - p) otherwise, so that the mean
/// stays; outside training, or with p = 0, x itself. 0 <= p <= 1.
/// Sets aside x.numel() random words of `rng`; nothing else is kept for the backward.
/// Srivastava et al.: Dropout, JMLR 2014, section 4 (there the scaling is done at test time).
Tensor dropout(const Tensor& x, double p, Rng& rng, bool training = true);

/// dropout(max(x, 0)) in one pass, and a backward that needs no random numbers: it keeps the result
/// alone, which says what was dropped and what was negative.
///   dx = 0 where y <= 0, else dy / (1 - p)
/// A NaN passes, both ways. ValueError unless 0 <= p <= 1. The slow twin, with the same bits, is
/// dropout(relu(x), p, rng, training).
Tensor relu_dropout(const Tensor& x, double p, Rng& rng, bool training = true);

}  // namespace fovea
