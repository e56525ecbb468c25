#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// B = 2, T = S = 3, D = 2, E = 2; features are positive
Inputs inputs() {
  return {uniform64({2, 3, 2}, 0.2, 2, 1), uniform64({2, 3, 2}, 0.2, 2, 2), randn64({2, 3, 2}, 3)};
}

Tensor attend(const Inputs& x, const Mask& mask) {
  return linear_attention(x[0], x[1], x[2], mask);
}

const bool added = add_grad_cases({
    {"prefix_product", [](const Inputs& x) { return attend(x, Mask::none()); }, inputs()},
    {"prefix_product",
     [](const Inputs& x) {
       return attend(x, Mask::causal() & Mask::lengths({2, 0}));
     },
     inputs()},
    {"prefix_product",
     [](const Inputs& x) {
       return linear_attention(elu_feature(x[0]), elu_feature(x[1]), x[2], Mask::causal());
     },
     {randn64({1, 3, 2}, 4), randn64({1, 3, 2}, 5), randn64({1, 3, 2}, 6)}},
    {"suffix_product",  // the gradient by the values, as a function of the other inputs
     [](const Inputs& x) {
       const Tensor y = attend(x, Mask::causal());
       return grad(sum(y * y), x[2], {.create_graph = true});
     },
     inputs()},
});

}  // namespace
}  // namespace fovea::test
