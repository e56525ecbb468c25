#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/score_mod.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// B = 2, H = 4, G = 2, T = 3, S = 4, D = 2, E = 3
Inputs grouped_inputs() {
  return {randn64({2, 4, 3, 2}, 1), randn64({2, 2, 4, 2}, 2), randn64({2, 2, 4, 3}, 3)};
}

Inputs with_sinks() {
  Inputs inputs = grouped_inputs();
  inputs.push_back(randn64({4}, 4));
  return inputs;
}

Mask causal() { return Mask::causal(Mask::Corner::bottom_right); }

Tensor both(const AttentionResult& y) {
  return concat({y.output, unsqueeze(y.logsumexp, 3)}, 3);  // (B, H, T, E + 1)
}

// Each of the two sequences of queries attends its own keys.
Tensor packed(const Inputs& x, const AttentionOptions& options) {
  const RaggedIndex queries({2, 3}), keys({1, 4});
  return scaled_dot_product_attention(Ragged{x[0], queries}, Ragged{x[1], keys}, Ragged{x[2], keys},
                                      causal(), options)
      .values;
}

const bool added = add_grad_cases({
    {"scaled_dot_product_attention",
     [](const Inputs& x) {
       return both(scaled_dot_product_attention_with_lse(x[0], x[1], x[2], causal()));
     },
     grouped_inputs()},
    {"scaled_dot_product_attention",
     [](const Inputs& x) {  // a fully masked batch row
       return scaled_dot_product_attention(x[0], x[1], x[2], Mask::lengths({2, 0}), {.scale = 1.5});
     },
     grouped_inputs()},
    {"scaled_dot_product_attention",
     [](const Inputs& x) {
       Rng rng(5);
       return both(scaled_dot_product_attention_with_lse(
           x[0], x[1], x[2], causal(), {.dropout = 0.4, .rng = &rng, .sinks = x[3]}));
     },
     with_sinks()},
    {"scaled_dot_product_attention",
     [](const Inputs& x) {
       Rng rng(6);
       return packed(x, {.dropout = 0.3, .rng = &rng, .sinks = x[3]});
     },
     {randn64({5, 2, 2}, 1), randn64({5, 1, 2}, 2), randn64({5, 1, 3}, 3), randn64({2}, 4)}},
});

}  // namespace
}  // namespace fovea::test
