#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/step_linear.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

// Three steps; the input of each depends on the previous one.
//   x: (2, 3, 2)  weight: (3, 4)  bias: (3)  z: (2, 2)
Tensor steps(const std::vector<Tensor>& in) {
  StepLinear step(in[0], in[1], in[2]);
  std::vector<Tensor> ys{step(in[3])};
  for (int t = 1; t < 3; ++t) ys.push_back(step(tanh(slice(ys.back(), 1, 0, 2))));
  return stack(ys, 1);
}

const std::vector<Tensor> inputs{randn64({2, 3, 2}, 1), randn64({3, 4}, 2), randn64({3}, 3),
                                 randn64({2, 2}, 4)};

const bool added = add_grad_cases({
    {"early_linear", steps, inputs},
    {"step_linear", steps, inputs},
});

}  // namespace
}  // namespace fovea::test
