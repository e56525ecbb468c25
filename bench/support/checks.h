// What bench/compare checks: norms of results and gradients, which must equal the twins'.
#pragma once

#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>

#include <cmath>

namespace fovea::bench {

/// The square root of the sum of all squares, in double precision.
inline double norm(const Tensor& x) {
  return std::sqrt(sum(square(x.detach().to(DType::f64))).item<double>());
}

}  // namespace fovea::bench
