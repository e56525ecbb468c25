// GRU and GRUCell as modules: names, layouts, layers, directions.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/recurrent.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

Ragged random_batch(const std::vector<std::int64_t>& lengths, std::int64_t width) {
  Rng rng(9);
  const RaggedIndex index(lengths);
  return {randn({index.total(), width}, rng), index};
}

Tensor parameter(Module& module, const std::string& name) {
  for (const auto& [found, value] : module.parameters())
    if (found == name) return value;
  return {};
}

// A direction of a layer written out with the op.
RecurrentOutput layer(GRU& net, const Ragged& x, const std::string& suffix, bool reverse) {
  RecurrentDirection d;
  d.weight_ih = parameter(net, "weight_ih" + suffix);
  d.weight_hh = parameter(net, "weight_hh" + suffix);
  d.bias_ih = parameter(net, "bias_ih" + suffix);
  d.bias_hh = parameter(net, "bias_hh" + suffix);
  d.reverse = reverse;
  return recurrent(x.values, {d}, x.index, {.kind = RecurrentKind::gru});
}

}  // namespace

TEST_CASE("names and shapes are PyTorch's") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  std::string listed;
  for (const auto& [name, value] : net.parameters())
    listed += name + " " + value.shape().str() + "\n";
  CHECK(listed ==
        "weight_ih_l0 (6, 3)\nweight_hh_l0 (6, 2)\nbias_ih_l0 (6,)\nbias_hh_l0 (6,)\n"
        "weight_ih_l0_reverse (6, 3)\nweight_hh_l0_reverse (6, 2)\n"
        "bias_ih_l0_reverse (6,)\nbias_hh_l0_reverse (6,)\n"
        "weight_ih_l1 (6, 4)\nweight_hh_l1 (6, 2)\nbias_ih_l1 (6,)\nbias_hh_l1 (6,)\n"
        "weight_ih_l1_reverse (6, 4)\nweight_hh_l1_reverse (6, 2)\n"
        "bias_ih_l1_reverse (6,)\nbias_hh_l1_reverse (6,)\n");
  GRU plain({.input_size = 3, .hidden_size = 2, .bias = false}, rng);
  CHECK(plain.parameters().size() == 2);
  GRUCell cell({.input_size = 3, .hidden_size = 2}, rng);
  CHECK(cell.parameters()[0].first == "weight_ih");
  CHECK(cell.parameters()[3].first == "bias_hh");
}

TEST_CASE("parameters start within 1 / sqrt(H)") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 16}, rng);
  for (const auto& [name, value] : net.parameters()) {
    const double largest = max_difference(value, zeros(value.shape()));
    CHECK(largest <= 0.25);
    CHECK(largest >= 0.2);
  }
}

TEST_CASE("layers feed each other, directions stand side by side") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  const Ragged x = random_batch({4, 1, 3}, 3);
  const GRU::Output out = net(x);
  const RecurrentOutput f0 = layer(net, x, "_l0", false), b0 = layer(net, x, "_l0_reverse", true);
  const Ragged middle{concat({f0.states, b0.states}, 1), x.index};
  const RecurrentOutput f1 = layer(net, middle, "_l1", false),
                        b1 = layer(net, middle, "_l1_reverse", true);
  CHECK(max_difference(out.states.values, concat({f1.states, b1.states}, 1)) == 0);
  CHECK(out.states.index == x.index);
  CHECK(max_difference(out.last, concat({f0.last, b0.last, f1.last, b1.last}, 0)) == 0);
}

TEST_CASE("every parameter and the initial state get a gradient") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  const Tensor initial = randn({4, 3, 2}, rng).set_requires_grad();
  const GradientAudit audit;
  const GRU::Output out = net(random_batch({4, 0, 3}, 3), initial);
  (sum(square(out.states.values)) + sum(square(out.last))).backward();
  CHECK(audit.report(net.parameters()) == "every parameter got a finite, non-zero gradient\n");
  CHECK(initial.grad().shape() == initial.shape());
}

TEST_CASE("a cell is one step of the layer") {
  Rng rng(1);
  GRUCell cell({.input_size = 3, .hidden_size = 4}, rng);
  GRU net({.input_size = 3, .hidden_size = 4}, rng);
  const NamedTensors from = cell.parameters(), to = net.parameters();
  for (std::size_t i = 0; i < 4; ++i) Tensor(to[i].second).copy_from(from[i].second);
  const Ragged x = random_batch({1, 1, 1}, 3);
  const Tensor h = randn({3, 4}, rng);
  CHECK(max_difference(cell(x.values, h), select(net(x, unsqueeze(h, 0)).last, 0, 0)) == 0);
  const Tensor gates = linear(x.values, cell.weight_ih, cell.bias_ih);
  CHECK(max_difference(cell.step(gates, h), cell(x.values, h)) == 0);
}

TEST_CASE("dropout works between layers, in training only") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 8, .num_layers = 2, .dropout = 0.5}, rng);
  const Ragged x = random_batch({4, 2}, 3);
  const Tensor first = net(x).states.values, second = net(x).states.values;
  CHECK(max_difference(first, second) > 0);
  CHECK(max_difference(select(net(x).last, 0, 0), select(net(x).last, 0, 0)) == 0);
  net.eval();
  CHECK(max_difference(net(x).states.values, net(x).states.values) == 0);
}

TEST_CASE("what does not fit") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2}, rng);
  net.name_tree("encoder");
  CHECK(message_of<ShapeError>([&] {
          net(random_batch({2, 1}, 3), zeros({1, 3, 2}));
        }) ==
        "GRU: initial state (1, 3, 2): it must be (layers * directions, B, H) = (1, 2, 2), in "
        "encoder");
  CHECK_THROWS_AS(net(random_batch({2, 1}, 4)), ShapeError);
}
