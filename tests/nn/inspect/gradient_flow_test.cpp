// ||dL/dh_t|| against derivatives by hand and by finite differences; watching changes no result.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/inspect/gradient_flow.h>
#include <fovea/nn/transformer_layers.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::nn::inspect;
using test::max_difference;
using test::message_of;

namespace {

// Rows (3, 4), (0, 2), (6, 8), ...: a loss of sum(g * h) gives row t the gradient g_t.
Tensor known_gradient(std::int64_t rows) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto n = static_cast<float>(i + 1);
    values.push_back(3 * n);
    values.push_back(4 * n);
  }
  return from_data(values, {rows, 2});
}

// A tensor with a graph.
Tensor made(const Shape& shape) { return 1.0 * ones(shape).set_requires_grad(); }

RaggedIndex index_of(const std::vector<std::int64_t>& lengths) { return RaggedIndex(lengths); }

using Numbers = std::vector<double>;

TransformerEncoder encoder_of(double dropout, Rng& rng) {
  return TransformerEncoder(
      {.layer =
           {.d_model = 8, .nhead = 2, .dim_feedforward = 12, .dropout = dropout, .causal = true},
       .num_layers = 2},
      rng);
}

class Doubled final : public Visitor {
 public:
  void parameter(std::string_view, Tensor& value) override {
    value = value.detach().to(DType::f64).set_requires_grad();
  }
  void child(std::string_view, Module& module) override { module.visit(*this); }
};

}  // namespace

TEST_CASE(
    "packed rows: norms, by position and from the end, over the sequences with that position") {
  const Ragged h{made({5, 2}), index_of({3, 0, 2})};
  GradientFlow flow;
  flow.watch("h", h);
  sum(known_gradient(5) * h.values).backward();
  const Flow seen = flow.measure("h");
  CHECK(seen.norms == Numbers{5, 10, 15, 20, 25});
  CHECK(seen.by_position() == Numbers{(5 + 20) / 2.0, (10 + 25) / 2.0, 15});
  CHECK(seen.by_distance() == Numbers{(15 + 25) / 2.0, (10 + 20) / 2.0, 5});
}

TEST_CASE("padded rows: with lengths, padding is ignored") {
  const Tensor h = made({2, 3, 2});
  const Tensor loss = sum(reshape(known_gradient(6), {2, 3, 2}) * h);
  GradientFlow flow;
  flow.watch("all", h);
  flow.watch("real", h, index_of({1, 2}));
  loss.backward();
  CHECK(flow.measure("all").norms == Numbers{5, 10, 15, 20, 25, 30});
  CHECK(flow.measure("real").norms == Numbers{5, 20, 25});
  CHECK(flow.measure("real").by_position() == Numbers{(5 + 20) / 2.0, 25});
}

TEST_CASE("unrolled steps: forward and from the end; a step that the loss does not need has 0") {
  const Tensor first = made({2, 2}), second = made({2, 2}), third = made({2, 2});
  const RaggedIndex index = index_of({3, 1});
  GradientFlow flow;
  flow.watch("forward", UnrolledStates{{first, second, third}, index});
  flow.watch("reverse", UnrolledStates{{first, second, third}, index, true});
  (sum(known_gradient(2) * first) + sum(known_gradient(2) * second)).backward();
  CHECK(flow.measure("forward").norms == Numbers{5, 5, 0, 10});
  CHECK(flow.measure("reverse").norms == Numbers{0, 5, 5, 10});
  CHECK(flow.measure()[1].name == "reverse");
}

TEST_CASE("several backward() calls accumulate, clear() releases the tensors") {
  const Tensor h = made({1, 1, 2});
  GradientFlow flow;
  flow.watch("h", h);
  sum(h).backward({}, {.retain_graph = true});
  sum(h).backward();
  CHECK(flow.measure("h").norms[0] == doctest::Approx(2 * std::sqrt(2.0)));
  flow.clear();
  CHECK(flow.measure().empty());
}

TEST_CASE("a gradient whose squares underflow in f32 is measured") {
  const Tensor h = made({1, 1, 1});
  GradientFlow flow;
  flow.watch("h", h);
  (1e-30 * sum(h)).backward();
  CHECK(flow.measure("h").norms[0] == doctest::Approx(1e-30));
}

TEST_CASE("a recurrent net's output has the direct part only, unroll() all of it") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 4}, rng);
  const Ragged x{randn({6, 3}, rng), index_of({6})};
  const GRU::Output out = net(x);
  const Unrolled run = unroll(net, x);
  GradientFlow flow;
  flow.watch("output", out.states);
  flow.watch("state", run.layers[0].states);
  sum(slice(out.states.values, 0, 5, 6)).backward();
  sum(slice(run.states.values, 0, 5, 6)).backward();
  const Numbers direct = flow.measure("output").by_position(),
                whole = flow.measure("state").by_position();
  CHECK(direct == Numbers{0, 0, 0, 0, 0, 2});  // sqrt(4 * 1)
  CHECK(whole[5] == 2);
  for (std::size_t t = 0; t < 5; ++t) CHECK(whole[t] > 0);
  for (std::size_t t = 0; t < 5; ++t) CHECK(whole[t] < whole[t + 1]);
}

TEST_CASE("the states of the backward direction have their own positions") {
  Rng rng(1);
  GRU both({.input_size = 3, .hidden_size = 4, .bidirectional = true}, rng);
  const Ragged x{randn({5, 3}, rng), index_of({3, 2})};
  const Unrolled run = unroll(both, x);
  GradientFlow flow;
  flow.watch("reverse", run.layers[1].states);
  sum(select(run.last, 0, 1)).backward();  // the state at position 0
  const Flow seen = flow.measure("reverse");
  CHECK(seen.norms[0] == 2);
  CHECK(seen.norms[3] == 2);
  for (const std::size_t row : {0U, 1U, 3U}) CHECK(seen.norms[row + 1] < seen.norms[row]);
}

TEST_CASE("between the layers of a Transformer: finite differences") {
  Rng rng(1);
  TransformerEncoder encoder = encoder_of(0, rng);
  Doubled().child("", encoder);
  const Tensor h = encoder.layers[0](randn({2, 4, 8}, rng, DType::f64));  // (B, T, C)
  const Tensor w = randn({2, 4, 8}, rng, DType::f64);
  const auto loss = [&](const Tensor& at) { return sum(w * encoder.layers[1](at)); };
  GradientFlow flow;
  flow.watch("layer 0", h);
  loss(h).backward();
  const Numbers norms = flow.measure("layer 0").norms;
  REQUIRE(norms.size() == 8);
  const NoGrad guard;
  for (std::int64_t row = 0; row < 8; ++row) {
    double square_sum = 0;
    for (std::int64_t c = 0; c < 8; ++c) {
      const auto at = [&](double step) {
        Tensor moved = h.clone();
        moved.mutable_data<double>()[row * 8 + c] += step;
        return loss(moved).item<double>();
      };
      const double slope = (at(1e-5) - at(-1e-5)) / 2e-5;
      square_sum += slope * slope;
    }
    CHECK(norms[static_cast<std::size_t>(row)] ==
          doctest::Approx(std::sqrt(square_sum)).epsilon(1e-7));
  }
}

TEST_CASE("the model's output and gradients are bitwise the same with and without it") {
  std::vector<Tensor> seen[2];
  for (const bool watched : {false, true}) {
    Rng rng(1);
    TransformerEncoder encoder = encoder_of(0.2, rng);
    GRU net({.input_size = 8, .hidden_size = 8}, rng);
    const Tensor x = randn({2, 5, 8}, rng).set_requires_grad();
    GradientFlow flow;
    const Tensor h0 = encoder.layers[0](x);
    if (watched) flow.watch("x", x);
    if (watched) flow.watch("layer 0", h0);
    const Tensor h1 = encoder.layers[1](h0) + h0;  // two ways on from the watched tensor
    const Ragged states = net(pack(h1, RaggedIndex::equal(2, 5))).states;
    if (watched) flow.watch("gru", states);
    const Tensor loss = sum(square(states.values)) + sum(h0);
    loss.backward();
    std::vector<Tensor>& into = seen[watched ? 1 : 0];
    into = {loss.detach(), states.values.detach(), x.grad()};
    for (const auto& [name, value] : encoder.parameters()) into.push_back(value.grad());
    for (const auto& [name, value] : net.parameters()) into.push_back(value.grad());
    if (watched) CHECK(flow.measure().size() == 3);
  }
  REQUIRE(seen[0].size() == seen[1].size());
  for (std::size_t i = 0; i < seen[0].size(); ++i)
    CHECK(max_difference(seen[0][i], seen[1][i]) == 0);
}

TEST_CASE("invalid and missing watches are errors") {
  GradientFlow flow;
  CHECK(message_of<StateError>([&] {
          flow.watch("h", zeros({2, 3, 4}));
        }) ==
        "GradientFlow: h: states (2, 3, 4) without graph: they are detached, were computed under "
        "NoGrad, or from inputs that require no gradient");
  CHECK(message_of<StateError>([&] {
          flow.watch("h", made({1, 2, 2}).detach());
        }) ==
        "GradientFlow: h: states (1, 2, 2) without graph: they are detached, were computed under "
        "NoGrad, or from inputs that require no gradient");
  const Tensor h = made({1, 2, 2});
  flow.watch("h", h);
  CHECK(message_of<StateError>([&] { flow.measure(); }) ==
        "GradientFlow: h: no gradient: backward() has not run since watch(), or the "
        "loss does not depend on these states");
  CHECK(message_of<ValueError>([&] { flow.watch("h", h); }) ==
        "GradientFlow: name \"h\": must not be in use already");
  CHECK(message_of<ValueError>([&] { flow.measure("g"); }) ==
        "GradientFlow: name \"g\": must be one of the watched names: h");
  CHECK(message_of<ValueError>([&] { GradientFlow().measure("g"); }) ==
        "GradientFlow: name \"g\": must be one of the watched names: none");
}

TEST_CASE("invalid arguments are errors") {
  GradientFlow flow;
  CHECK(message_of<ShapeError>([&] {
          flow.watch("h", made({4, 2}));
        }) == "GradientFlow: h: states (4, 2): must be (B, T, C), or packed with an index");
  CHECK(message_of<ShapeError>([&] {
          flow.watch("h", made({2, 3, 2}), index_of({1, 4}));
        }) ==
        "GradientFlow: h: states (2, 3, 2) for 2 sequences of up to 4 tokens: must be "
        "(B, T, C)");
  CHECK(message_of<ShapeError>([&] {
          flow.watch("h", Ragged{made({4, 2}), index_of({3, 2})});
        }) == "GradientFlow: h: states (4, 2) for 5 packed rows: must be (N, C)");
  CHECK(message_of<ShapeError>([&] {
          flow.watch("h", UnrolledStates{{made({1, 2})}, index_of({2})});
        }) == "GradientFlow: h: 1 steps for sequences of up to 2 tokens: must be equal");
  CHECK(message_of<ShapeError>([&] {
          flow.watch("h", UnrolledStates{{made({3, 2})}, index_of({1, 1})});
        }) == "GradientFlow: h: step 0 of shape (3, 2) for 2 sequences: must have a row for each");
  CHECK(flow.measure().empty());  // nothing half watched
}

TEST_CASE("a chart: one line per layer, logarithmic, by position from 1 or from the end") {
  const std::vector<Flow> flows{{"gru", index_of({3}), {1e-4, 1e-2, 1}},
                                {"attention", index_of({2}), {0.5, 0.25}}};
  const Chart chart = chart_of(flows);
  REQUIRE(chart.series.size() == 2);
  CHECK(chart.log_y);
  CHECK(chart.series[0].name == "gru");
  CHECK(chart.series[0].x == Numbers{1, 2, 3});
  CHECK(chart.series[0].y == Numbers{1e-4, 1e-2, 1});
  const Chart back = chart_of(flows, FlowAxis::distance);
  CHECK(back.series[1].x == Numbers{0, 1});
  CHECK(back.series[1].y == Numbers{0.25, 0.5});
  CHECK(draw_as_svg(chart).find(">position t</text>") != std::string::npos);
  CHECK(draw_as_svg(back).find(">positions before the end</text>") != std::string::npos);
}
