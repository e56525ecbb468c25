// Recurrent nets and cells as modules: names, layouts, layers, directions, parts of sequences.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/nn/recurrent_nets.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;
using test::parameter;
using test::random_batch;

namespace {

// A direction of a layer by a direct call of the op.
RecurrentOutput layer(GRU& net, const Ragged& x, const std::string& suffix, bool reverse) {
  RecurrentDirection d;
  d.weight_ih = parameter(net, "weight_ih" + suffix);
  d.weight_hh = parameter(net, "weight_hh" + suffix);
  d.bias_ih = parameter(net, "bias_ih" + suffix);
  d.bias_hh = parameter(net, "bias_hh" + suffix);
  d.reverse = reverse;
  return recurrent(x.values, {d}, x.index, {.kind = RecurrentKind::gru});
}

std::string listed(Module& module) {
  std::string lines;
  for (const auto& [name, value] : module.parameters())
    lines += name + " " + value.shape().str() + "\n";
  return lines;
}

}  // namespace

TEST_CASE("names and shapes are PyTorch's") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  CHECK(listed(net) ==
        "weight_ih_l0 (6, 3)\nweight_hh_l0 (6, 2)\nbias_ih_l0 (6,)\nbias_hh_l0 (6,)\n"
        "weight_ih_l0_reverse (6, 3)\nweight_hh_l0_reverse (6, 2)\n"
        "bias_ih_l0_reverse (6,)\nbias_hh_l0_reverse (6,)\n"
        "weight_ih_l1 (6, 4)\nweight_hh_l1 (6, 2)\nbias_ih_l1 (6,)\nbias_hh_l1 (6,)\n"
        "weight_ih_l1_reverse (6, 4)\nweight_hh_l1_reverse (6, 2)\n"
        "bias_ih_l1_reverse (6,)\nbias_hh_l1_reverse (6,)\n");
  GRU plain({.input_size = 3, .hidden_size = 2, .bias = false}, rng);
  CHECK(plain.parameters().size() == 2);
  RNN rnn({.input_size = 3, .hidden_size = 2}, rng);
  CHECK(listed(rnn) ==
        "weight_ih_l0 (2, 3)\nweight_hh_l0 (2, 2)\nbias_ih_l0 (2,)\nbias_hh_l0 (2,)\n");
  LSTMCell cell({.input_size = 3, .hidden_size = 2}, rng);
  CHECK(listed(cell) == "weight_ih (8, 3)\nweight_hh (8, 2)\nbias_ih (8,)\nbias_hh (8,)\n");
  RNNCell bare({.input_size = 3, .hidden_size = 2, .bias = false}, rng);
  CHECK(listed(bare) == "weight_ih (2, 3)\nweight_hh (2, 2)\n");
}

TEST_CASE("names and shapes with projections, coupled gates and layer norm") {
  Rng rng(1);
  LSTM projected({.input_size = 3, .hidden_size = 4, .num_layers = 2, .proj_size = 2}, rng);
  CHECK(listed(projected) ==
        "weight_ih_l0 (16, 3)\nweight_hh_l0 (16, 2)\nbias_ih_l0 (16,)\nbias_hh_l0 (16,)\n"
        "weight_hr_l0 (2, 4)\nweight_ih_l1 (16, 2)\nweight_hh_l1 (16, 2)\nbias_ih_l1 (16,)\n"
        "bias_hh_l1 (16,)\nweight_hr_l1 (2, 4)\n");
  LSTM coupled({.input_size = 3, .hidden_size = 4, .coupled_gates = true}, rng);
  CHECK(listed(coupled) ==
        "weight_ih_l0 (12, 3)\nweight_hh_l0 (12, 4)\nbias_ih_l0 (12,)\nbias_hh_l0 (12,)\n");
  LSTM normed({.input_size = 3, .hidden_size = 4, .proj_size = 2, .layer_norm = true}, rng);
  CHECK(listed(normed) ==
        "weight_ih_l0 (16, 3)\nweight_hh_l0 (16, 2)\nweight_hr_l0 (2, 4)\n"
        "norm_ih_weight_l0 (16,)\nnorm_ih_bias_l0 (16,)\nnorm_hh_weight_l0 (16,)\n"
        "norm_hh_bias_l0 (16,)\nnorm_cell_weight_l0 (4,)\nnorm_cell_bias_l0 (4,)\n");
  GRU gru({.input_size = 3, .hidden_size = 4, .layer_norm = true}, rng);
  CHECK(listed(gru) ==
        "weight_ih_l0 (12, 3)\nweight_hh_l0 (12, 4)\nnorm_ih_weight_l0 (12,)\n"
        "norm_ih_bias_l0 (12,)\nnorm_hh_weight_l0 (12,)\nnorm_hh_bias_l0 (12,)\n");
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

TEST_CASE("layers are stacked, directions concatenated") {
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

TEST_CASE("every parameter and initial state gets a gradient, for every net and option") {
  const auto with = [](const auto& change) {
    RecurrentOptions o{.input_size = 3, .hidden_size = 5, .num_layers = 2, .bidirectional = true};
    change(o);
    return o;
  };
  const std::vector<RecurrentOptions> option_sets{
      with([](auto&) {}),
      with([](auto& o) { o.bias = false; }),
      with([](auto& o) { o.layer_norm = true; }),
      with([](auto& o) { o.recompute = true; }),
      with([](auto& o) { o.dropout = o.variational_dropout = o.zoneout = o.cell_zoneout = 0.1; }),
      with([](auto& o) {
        o.layer_norm = o.recompute = true;
        o.variational_dropout = o.zoneout = 0.1;
      }),
      with([](auto& o) { o.forget_bias = 1, o.orthogonal = true; })};
  for (const auto& kind : test::recurrent_net_kinds())
    for (std::size_t i = 0; i < option_sets.size(); ++i) {
      CAPTURE(kind.name);
      CAPTURE(i);
      Rng rng(1);
      const auto net = kind.make(test::for_kind(kind, option_sets[i]), rng);
      const std::int64_t P = parameter(*net, "weight_hh_l0").dim(1);
      const Tensor h = randn({4, 3, P}, rng).set_requires_grad();
      const Tensor c = kind.lstm ? randn({4, 3, 5}, rng).set_requires_grad() : Tensor();
      const GradientAudit audit;
      const auto out = (*net)(random_batch({6, 0, 5}, 3), h, c);
      (sum(square(out.states.values)) + sum(square(out.last))).backward();
      NamedTensors leaves = net->parameters();
      leaves.emplace_back("h", h);
      if (kind.lstm) leaves.emplace_back("c", c);
      CHECK(audit.report(leaves) == "every parameter got a finite, non-zero gradient\n");
      CHECK(h.grad().shape() == h.shape());
      if (kind.lstm) CHECK(c.grad().shape() == c.shape());
    }
}

TEST_CASE("a cell equals one step of the layer") {
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

TEST_CASE("LSTM and RNN cells, step by step, equal their layers") {
  Rng rng(1);
  const Tensor x = randn({3, 5, 2}, rng);  // (B, T, I)
  LSTM lstm({.input_size = 2, .hidden_size = 4}, rng);
  LSTMCell lstm_cell({.input_size = 2, .hidden_size = 4}, rng);
  RNN rnn({.input_size = 2, .hidden_size = 4, .nonlinearity = Nonlinearity::relu}, rng);
  RNNCell rnn_cell({.input_size = 2, .hidden_size = 4, .nonlinearity = Nonlinearity::relu}, rng);
  test::copy_parameters(lstm, lstm_cell);
  test::copy_parameters(rnn, rnn_cell);
  const auto states = lstm(x), rnn_states = rnn(x);
  LSTMCell::State state;
  Tensor h;
  for (std::int64_t t = 0; t < 5; ++t) {
    state = lstm_cell(select(x, 1, t), state);
    h = rnn_cell(select(x, 1, t), h);
    CHECK(max_difference(state.h, select(states.states, 1, t)) <= 1e-6);
    CHECK(max_difference(h, select(rnn_states.states, 1, t)) <= 1e-6);
  }
  CHECK(max_difference(state.c, select(states.last_cell, 0, 0)) <= 1e-6);
}

// The two parts of (B, T, I), split after step 3.
struct Parts {
  Tensor first, second;
};
Parts parts_of(const Tensor& x) { return {narrow(x, 1, 0, 3), narrow(x, 1, 3, x.dim(1) - 3)}; }

TEST_CASE("a sequence in parts, each from the last states before, equals the whole sequence") {
  for (const auto& kind : test::recurrent_net_kinds())
    for (const bool layer_norm : {false, true}) {
      CAPTURE(kind.name);
      Rng rng(1);
      const auto net = kind.make(
          {.input_size = 3, .hidden_size = 5, .num_layers = 2, .layer_norm = layer_norm}, rng);
      test::to_f64(*net);
      const Tensor x = randn({4, 8, 3}, rng, DType::f64);
      const auto whole = (*net)(x), first = (*net)(parts_of(x).first);
      const auto second = (*net)(parts_of(x).second, first.last, first.last_cell);
      CHECK(max_difference(concat({first.states, second.states}, 1), whole.states) <= 1e-14);
      CHECK(max_difference(second.last, whole.last) <= 1e-14);

      // Without detach the gradient is complete.
      NamedTensors named = net->parameters();
      std::vector<Tensor> weights;
      for (const auto& [name, value] : named) weights.push_back(value);
      const Tensor dy = randn(whole.states.shape(), rng, DType::f64);
      const Tensor in_parts = concat({first.states, second.states}, 1);
      const auto found = grad({&in_parts, 1}, weights, {&dy, 1}),
                 expected = grad({&whole.states, 1}, weights, {&dy, 1});
      for (std::size_t i = 0; i < weights.size(); ++i) {
        // Sums in another order, rounded differently; a norm over five values amplifies it.
        const Tensor largest = max(abs(expected[i]));
        CHECK(max_difference(found[i], expected[i]) <= 1e-12 * (1 + largest.item<double>()));
      }
    }
}

TEST_CASE("truncated backpropagation: the gradient of a part is that of the part alone") {
  for (const auto& kind : test::recurrent_net_kinds()) {
    CAPTURE(kind.name);
    Rng rng(1);
    const auto net = kind.make({.input_size = 3, .hidden_size = 5, .num_layers = 2}, rng);
    const Tensor x = randn({4, 8, 3}, rng);
    const Tensor before = parts_of(x).first.clone().set_requires_grad();
    const auto gradients = [&](const Tensor& h, const Tensor& c) {
      net->zero_grad();
      sum(square((*net)(parts_of(x).second, h, c).states)).backward();
      std::vector<Tensor> all;
      for (const auto& [name, value] : net->parameters()) all.push_back(value.grad().clone());
      return all;
    };
    const auto first = (*net)(before);
    const auto detached = [](const Tensor& s) { return s.defined() ? s.detach() : s; };
    const auto copied = [](const Tensor& s) { return s.defined() ? s.detach().clone() : s; };
    const auto truncated = gradients(detached(first.last), detached(first.last_cell)),
               alone = gradients(copied(first.last), copied(first.last_cell));
    CHECK_FALSE(before.grad().defined());
    const auto through = gradients(first.last, first.last_cell);
    CHECK(before.grad().defined());
    double difference = 0;
    for (std::size_t i = 0; i < alone.size(); ++i) {
      CHECK(max_difference(truncated[i], alone[i]) == 0);
      difference = std::max(difference, max_difference(truncated[i], through[i]));
    }
    CHECK(difference > 0.01);
  }
}

TEST_CASE("invalid arguments are errors") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2}, rng);
  net.name_tree("encoder");
  CHECK(message_of<ShapeError>([&] {
          net(random_batch({2, 1}, 3), zeros({1, 3, 2}));
        }) ==
        "GRU: initial state (1, 3, 2): must be (layers * directions, B, H) = (1, 2, 2), in "
        "encoder");
  CHECK(message_of<ShapeError>([&] {
          net(random_batch({2, 1}, 4));
        }) == "GRU: input (3, 4) for 3 packed rows: must be (N, input_size) = (3, 3), in encoder");
  CHECK(message_of<StateError>([&] {
          net(random_batch({2, 1}, 3), {}, zeros({1, 2, 2}));
        }) == "GRU: initial cell (1, 2, 2): only supported by LSTM, in encoder");
  CHECK(message_of<ShapeError>([&] {
          net(zeros({2, 3}));
        }) == "GRU: padded input (2, 3): must be (B, T, I), in encoder");
  const GRU turned({.input_size = 3, .hidden_size = 2, .batch_first = false}, rng);
  CHECK(message_of<ShapeError>([&] {
          turned(zeros({2, 3}));
        }) == "GRU: padded input (2, 3): must be (T, B, I)");
  CHECK(message_of<DTypeError>([&] {
          net(zeros({2, 1, 3}, DType::f64));
        }) == "gru: weight_hh is f32, inputs are f64: dtypes must be equal, in encoder");
  const LSTM lstm({.input_size = 3, .hidden_size = 4, .bidirectional = true, .proj_size = 2}, rng);
  CHECK(message_of<ShapeError>([&] {
          lstm(random_batch({2, 1}, 3), zeros({2, 2, 4}));
        }) == "LSTM: initial state (2, 2, 4): must be (layers * directions, B, P) = (2, 2, 2)");
  CHECK(message_of<ShapeError>([&] {
          lstm(random_batch({2, 1}, 3), {}, zeros({2, 2, 2}));
        }) == "LSTM: initial cell (2, 2, 2): must be (layers * directions, B, H) = (2, 2, 4)");
}

TEST_CASE("invalid cell arguments are errors") {
  Rng rng(1);
  const LSTMCell cell({.input_size = 3, .hidden_size = 2}, rng);
  CHECK(message_of<ShapeError>([&] {
          cell(zeros({4, 2}));
        }) == "lstm: weight_ih (8, 3): must be (8, 2)");
  CHECK(message_of<ShapeError>([&] {
          cell(zeros({4, 3}), {zeros({4, 2}), zeros({3, 2})});
        }) == "lstm: initial cell (3, 2): must be (4, 2)");
  CHECK(message_of<ShapeError>([&] {
          cell(zeros({4, 3}), {zeros({4, 3}), {}});
        }) == "lstm: initial state (4, 3): must be (4, 2)");
}

TEST_CASE("unsupported cell options are errors") {
  Rng rng(1);
  const RecurrentCellOptions relu{
      .input_size = 3, .hidden_size = 2, .nonlinearity = Nonlinearity::relu};
  CHECK(message_of<ValueError>([&] { GRUCell(relu, rng); }) ==
        "GRUCell: nonlinearity = relu: only supported by RNN");
  CHECK(message_of<ValueError>([&] { LSTMCell(relu, rng); }) ==
        "LSTMCell: nonlinearity = relu: only supported by RNN");
  CHECK(message_of<ValueError>([&] { RNNCell({.input_size = 3, .hidden_size = 0}, rng); }) ==
        "RNNCell: hidden_size = 0: must be from 1 to 1073741824");
}
