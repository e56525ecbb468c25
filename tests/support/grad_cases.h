// The table of gradient cases: each op family adds its own, and gradient_coverage_test.cpp runs
// them all and checks that every registered op has one.
#pragma once

#include <fovea/core/gradcheck.h>
#include <fovea/core/tensor.h>

#include <initializer_list>
#include <string>
#include <vector>

namespace fovea::test {

struct GradCase {
  std::string op;  ///< the name in record<"...">: it must appear in the graph
  TensorFunction f;
  std::vector<Tensor> inputs;  ///< f64
  GradcheckOptions options = {};
};

/// For a namespace-scope `static const bool added = add_grad_cases({...});`
bool add_grad_cases(std::initializer_list<GradCase> cases);
const std::vector<GradCase>& grad_cases();

/// Reproducible f64 inputs: normal; uniform in [low, high); kept at least `gap` away from zero (for
/// functions with a corner there).
Tensor randn64(const Shape& shape, std::uint64_t seed);
Tensor uniform64(const Shape& shape, double low, double high, std::uint64_t seed);
Tensor away_from_zero64(const Shape& shape, double gap, std::uint64_t seed);

}  // namespace fovea::test
