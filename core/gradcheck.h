// Numerical check of gradients: a backward against finite differences of its forward.
#pragma once

#include <fovea/core/autograd.h>

#include <functional>
#include <string>
#include <vector>

namespace fovea {

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

struct GradcheckOptions {
  double step = 1e-6;       ///< h is step * max(1, |x|)
  double tolerance = 1e-6;  ///< on |numeric - analytic| / max(1, |numeric|)
  std::uint64_t seed = 7;   ///< of the random cotangent
};

/// The first element where the numeric and the analytic gradient differ.
struct GradReport {
  bool ok = true;
  std::string message;  ///< empty when ok
  std::size_t input = 0;
  std::int64_t index = 0;
  double numeric = 0, analytic = 0;
  explicit operator bool() const { return ok; }
};

/// Central differences against backward() for L = sum(w * f(x)), w random and fixed:
///   dL/dx_i ~ (L(x + h e_i) - L(x - h e_i)) / 2h
/// for every element of every input. Inputs must be f64 (DTypeError). w is random because with w =
/// 1 the gradient of a softmax is zero, and a backward that returns zeros would pass. NaN fails.
GradReport gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs,
                     const GradcheckOptions& options = {});

/// The same for second derivatives: g(x, w) = d sum(w * f(x)) / dx, computed by
/// backward(create_graph), is checked as a function of x and of w. A linear f, whose gradient does
/// not depend on x, passes.
GradReport gradgradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs,
                         const GradcheckOptions& options = {});

}  // namespace fovea
