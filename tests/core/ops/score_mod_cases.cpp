#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/score_mod_lambda.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

Tensor modified(const ScoreMod& mod, const Tensor& scores) {
  return mod.impl().reference(scores, mod.impl().captured, 0);
}

// Every function of a Dual, for positive values.
Tensor all_functions(const Inputs& x) {
  const ScoreMod mod = score_mod<3>(
      []<class N>(N score, const ScorePlace& at, auto read) -> N {
        const N a = read(0, at.key), b = read(0, 2 - at.key), c = read(1);
        const N up = exp(-score) * a + log(b + 2) / score - sqrt(a * score) + pow(score, 2.5);
        const N down = tanh(b) * sigmoid(c - score) + abs(a - 5) / (2 - c) + 3 / (1 + b);
        N sum = max(up, down) - min(score, c) + max(score, -1) + where(at.key > 1, a * b, b - c);
        sum *= 2;
        sum -= pow(b, 0) + a / 4 + (1 - c) + (+b);
        return score < c ? sum : sum + 2 * a * a;
      },
      {x[1], x[2]});
  return modified(mod, x[0]);
}

ScoreMod bilinear(const Tensor& rows, const Tensor& gate) {  // (2, 1, 3), (1, 2)
  return score_mod(
      [](auto score, const ScorePlace& at, auto read) {
        return score * sigmoid(read(1)) + read(0, at.key) * read(0, at.query);
      },
      {rows, gate});
}

// B = 2, H = 2, T = S = 3, D = 2, and the captured tensors: through the fused attention.
GradCase attention_case(const std::function<ScoreMod(const Inputs&)>& make,
                        const std::vector<Shape>& shapes) {
  Inputs inputs{randn64({2, 2, 3, 2}, 1), randn64({2, 2, 3, 2}, 2), randn64({2, 2, 3, 2}, 3)};
  for (const Shape& shape : shapes) inputs.push_back(randn64(shape, 3 + inputs.size()));
  const auto f = [make](const Inputs& x) {
    AttentionOptions options;
    options.score_mod = make({x.begin() + 3, x.end()});
    return scaled_dot_product_attention(x[0], x[1], x[2], Mask::causal(), options);
  };
  return {"scaled_dot_product_attention", f, inputs};
}

const bool added = add_grad_cases({
    {"score_mod",
     all_functions,
     {uniform64({2, 2, 3, 3}, 0.3, 0.9, 1), uniform64({2, 1, 3}, 0.3, 0.9, 2),
      uniform64({1, 2}, 0.3, 0.9, 3)}},
    {"score_mod",
     [](const Inputs& x) {
       return modified(score_mod([](auto score, const ScorePlace&, auto) { return score * score; }),
                       x[0]);
     },
     {randn64({1, 2, 2, 2}, 4)}},
    {"score_mod",
     [](const Inputs& x) {
       return modified(bilinear(x[1], x[2]).then(ScoreMod::soft_cap(1.5)), x[0]);
     },
     {randn64({2, 2, 3, 3}, 1), randn64({2, 1, 3}, 4), randn64({1, 2}, 5)}},
    attention_case([](const Inputs& x) { return bilinear(x[0], x[1]); }, {{2, 1, 3}, {1, 2}}),
    attention_case([](const Inputs& x) { return ScoreMod::bias(x[0]); }, {{2, 1, 1, 3}}),
    attention_case(
        [](const Inputs& x) { return ScoreMod::soft_cap(2).then(ScoreMod::alibi(x[0])); }, {{2}}),
    attention_case(
        [](const Inputs& x) {
          return ScoreMod::t5_bias(x[0], {false, 3});
        },
        {{4, 2}}),
    attention_case([](const Inputs& x) { return ScoreMod::clipped_relative(x[0], x[1]); },
                   {{2, 2, 3, 2}, {2, 3, 2}}),
});

}  // namespace
}  // namespace fovea::test
