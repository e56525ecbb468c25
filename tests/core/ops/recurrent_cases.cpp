#include <fovea/core/ops/layout.h>
#include <fovea/tests/core/ops/recurrent_problem.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

// All outputs in one tensor, so that each gets its own gradient.
GradCase case_of(const RecurrentFeatures& features, RecurrentKind kind, std::int64_t H) {
  RecurrentProblem problem = random_recurrent(features, kind, 2, H, {2, 0, 3});
  const std::vector<Tensor> inputs = problem.leaves();
  const auto f = [problem](const std::vector<Tensor>& x) {
    RecurrentProblem p = problem;
    const std::vector<Tensor*> parts = p.parts();
    for (std::size_t i = 0; i < parts.size(); ++i) *parts[i] = x[i];
    std::vector<Tensor> all;
    for (const Tensor& y : RecurrentProblem::list(p.fused())) all.push_back(reshape(y, {-1}));
    return concat(all, 0);
  };
  return {name_of(kind), f, inputs};
}

const bool added = [] {
  for (const RecurrentKind kind : all_recurrent_kinds)
    for (const RecurrentFeatures& features : all_recurrent_features(carries_cell(kind)))
      add_grad_cases({case_of(features, kind, features.norm || features.cell_norm ? 3 : 2)});
  return true;
}();

}  // namespace
}  // namespace fovea::test
