// Norms of results and gradients; bench/compare checks that they equal the peers'.
#pragma once

#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/state.h>

#include <cmath>

namespace fovea::bench {

/// The square root of the sum of all squares, in double precision.
inline double norm(const Tensor& x) {
  return std::sqrt(sum(square(x.detach().to(DType::f64))).item<double>());
}

/// The norm of all parameters' gradients as one vector.
inline double gradient_norm(const NamedTensors& parameters) {
  double squares = 0;
  for (const auto& [name, value] : parameters) squares += std::pow(norm(value.grad()), 2);
  return std::sqrt(squares);
}

}  // namespace fovea::bench
