#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/layout.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// B = 2, T = 2, S = 3, A = 2, C = 2
Inputs additive_inputs() {
  return {randn64({2, 2, 2}, 1), randn64({2, 3, 2}, 2), randn64({2}, 3), randn64({2, 3, 2}, 4)};
}

AttentionOutput additive(const Inputs& x, const Mask& mask) {
  return additive_attention(x[0], x[1], x[2], x[3], mask);
}

const bool added = add_grad_cases({
    {"additive_attention",
     [](const Inputs& x) {  // both outputs, and a fully masked batch row
       const AttentionOutput y = additive(x, Mask::lengths({2, 0}));
       return concat({y.context, y.weights}, 2);
     },
     additive_inputs()},
    {"additive_attention", [](const Inputs& x) { return additive(x, Mask::none()).context; },
     additive_inputs()},
    {"additive_attention",
     [](const Inputs& x) {  // the weights only: values get no gradient; query 0 is fully masked
       const Tensor values = zeros({2, 3, 2}, DType::f64);
       const Mask mask =
           Mask::keep(from_data(std::vector<bool>{false, false, false, true, false, true}, {2, 3}));
       return additive_attention(x[0], x[1], x[2], values, mask).weights;
     },
     {randn64({2, 2, 2}, 1), randn64({2, 3, 2}, 2), randn64({2}, 3)}},
});

}  // namespace
}  // namespace fovea::test
