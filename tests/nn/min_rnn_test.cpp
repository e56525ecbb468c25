// minGRU and minLSTM as modules: the paper's equations step by step, names, layers, directions.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/min_rnn.h>
#include <fovea/optim/adam.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

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

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double g_of(double x) { return x >= 0 ? x + 0.5 : sigmoid_of(x); }

// h' from h and the input part of each gate, as in the paper.
double min_gru_step(double h, const std::vector<double>& gate) {
  const double z = sigmoid_of(gate[0]);
  return (1 - z) * h + z * g_of(gate[1]);
}
double min_lstm_step(double h, const std::vector<double>& gate) {
  const double f = sigmoid_of(gate[0]), i = sigmoid_of(gate[1]);
  return f / (f + i) * h + i / (f + i) * g_of(gate[2]);
}

// The largest difference between a net of one layer and its equation, step by step.
template <class Step>
double difference_to(MinRecurrentLayers& net, const Step& step) {
  const Ragged x = random_batch({4, 0, 7}, 3);
  const NamedTensors w = net.parameters();
  const Tensor gates = linear(x.values, w[0].second, w[1].second);  // (N, G H)
  const std::int64_t H = net.options().hidden_size, G = gates.dim(1) / H;
  const std::vector<float> found = net(x).states.values.to_vector<float>();
  const std::vector<double> input = gates.to_vector<double>();
  double largest = 0;
  for (std::int64_t b = 0; b < x.index.batch_size(); ++b)
    for (std::int64_t c = 0; c < H; ++c) {
      double h = 0;
      for (std::int64_t row = x.index.offset(b); row < x.index.offset(b + 1); ++row) {
        std::vector<double> gate;
        for (std::int64_t k = 0; k < G; ++k)
          gate.push_back(input[static_cast<std::size_t>((row * G + k) * H + c)]);
        h = step(h, gate);
        largest = std::max(largest, std::abs(h - found[static_cast<std::size_t>(row * H + c)]));
      }
    }
  return largest;
}

// Sequences of (value, mark); the target at the end is the value at the only mark.
struct Marked {
  Ragged x;
  Tensor answers;  // (B, 1)
};
Marked marked_numbers(std::int64_t B, Rng& rng) {
  std::vector<std::int64_t> lengths;
  std::vector<float> rows, answers;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t length = 5 + rng.below(16), mark = rng.below(length);
    lengths.push_back(length);
    for (std::int64_t t = 0; t < length; ++t) {
      const auto number = static_cast<float>(rng.uniform());
      rows.insert(rows.end(), {number, t == mark ? 1.0f : 0.0f});
      if (t == mark) answers.push_back(number);
    }
  }
  const RaggedIndex index(lengths);
  return {{from_data(rows, {index.total(), 2}), index}, from_data(answers, {B, 1})};
}

// The mean squared error on unseen sequences after some steps of training.
template <class Net>
double learned_error(Net& net, Rng& rng) {
  Linear read({.in_features = 16, .out_features = 1}, rng);
  NamedTensors all = net.parameters();
  for (const auto& [name, w] : read.parameters()) all.emplace_back("read." + name, w);
  optim::Adam adam(all, {.lr = 1e-2});
  const auto error = [&](const Marked& m) {
    return mse_loss(read(select(net(m.x).last, 0, 0)), m.answers);
  };
  for (int step = 0; step < 400; ++step) {
    adam.zero_grad();
    error(marked_numbers(32, rng)).backward();
    adam.step();
  }
  const NoGrad guard;
  return error(marked_numbers(500, rng)).template item<double>();
}

}  // namespace

TEST_CASE("the states follow the paper's equations") {
  Rng rng(1);
  MinGRU gru({.input_size = 3, .hidden_size = 5}, rng);
  MinLSTM lstm({.input_size = 3, .hidden_size = 5}, rng);
  CHECK(difference_to(gru, min_gru_step) <= 1e-6);
  CHECK(difference_to(lstm, min_lstm_step) <= 1e-6);
}

TEST_CASE("gates near 0 stay finite") {
  Rng rng(1);
  MinLSTM net({.input_size = 1, .hidden_size = 1}, rng);
  for (const auto& [name, w] : net.parameters()) Tensor(w).fill(0);
  Tensor bias = net.parameters()[1].second;
  bias.copy_from(tensor({-200, -200, 1}));  // f = i = 0: half of the state, half of the input
  const Tensor initial = full({1, 1, 1}, 3);
  const MinLSTM::Output out = net({zeros({1, 1}), RaggedIndex({1})}, initial);
  CHECK(out.last.item() == doctest::Approx(0.5 * 3 + 0.5 * 1.5));
}

TEST_CASE("names and shapes are those of GRU, without weight_hh") {
  Rng rng(1);
  MinGRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  std::string listed;
  for (const auto& [name, value] : net.parameters())
    listed += name + " " + value.shape().str() + "\n";
  CHECK(listed ==
        "weight_ih_l0 (4, 3)\nbias_ih_l0 (4,)\n"
        "weight_ih_l0_reverse (4, 3)\nbias_ih_l0_reverse (4,)\n"
        "weight_ih_l1 (4, 4)\nbias_ih_l1 (4,)\n"
        "weight_ih_l1_reverse (4, 4)\nbias_ih_l1_reverse (4,)\n");
  MinLSTM lstm({.input_size = 3, .hidden_size = 2, .bias = false}, rng);
  CHECK(lstm.parameters().size() == 1);
  CHECK(lstm.parameters()[0].second.shape() == Shape{6, 3});
}

TEST_CASE("layers are stacked, directions concatenated") {
  Rng rng(1);
  MinGRU both({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  const Ragged x = random_batch({4, 1, 0, 3}, 3);
  const MinGRU::Output out = both(x);
  // The same by nets of one layer and one direction; the backward one gets the reversed input.
  const NamedTensors w = both.parameters();
  const auto layer = [&](const Ragged& seen, std::size_t at, bool reverse) {
    MinGRU one({.input_size = seen.values.dim(1), .hidden_size = 2}, rng);
    for (std::size_t i = 0; i < 2; ++i)
      Tensor(one.parameters()[i].second).copy_from(w[2 * at + i].second);
    std::vector<Tensor> rows, last;
    for (std::int64_t b = 0; b < seen.index.batch_size(); ++b) {
      const auto turned = [&](const Tensor& y) { return reverse ? flip(y, {0}) : y; };
      const Tensor own = slice(seen.values, 0, seen.index.offset(b), seen.index.offset(b + 1));
      const MinGRU::Output y = one({turned(own), RaggedIndex({own.dim(0)})});
      rows.push_back(turned(y.states.values));
      last.push_back(select(y.last, 0, 0));
    }
    return std::pair(concat(rows, 0), concat(last, 0));
  };
  const auto f0 = layer(x, 0, false), b0 = layer(x, 1, true);
  const Ragged middle{concat({f0.first, b0.first}, 1), x.index};
  const auto f1 = layer(middle, 2, false), b1 = layer(middle, 3, true);
  CHECK(max_difference(out.states.values, concat({f1.first, b1.first}, 1)) <= 1e-6);
  CHECK(out.states.index == x.index);
  const Tensor last = stack({f0.second, b0.second, f1.second, b1.second}, 0);
  CHECK(max_difference(out.last, last) <= 1e-6);
}

TEST_CASE("a batch in any order equals its sequences one by one") {
  Rng rng(1);
  MinLSTM net({.input_size = 3, .hidden_size = 4, .num_layers = 2, .bidirectional = true}, rng);
  test::to_f64(net);
  const Ragged x = random_batch({5, 0, 1, 1100}, 3);
  const Tensor values = x.values.to(DType::f64);
  const MinLSTM::Output all = net({values, x.index});
  for (std::int64_t b = 0; b < 4; ++b) {
    const std::int64_t from = x.index.offset(b), to = x.index.offset(b + 1);
    const MinLSTM::Output one = net({slice(values, 0, from, to), RaggedIndex({to - from})});
    CHECK(max_difference(one.states.values, slice(all.states.values, 0, from, to)) <= 1e-12);
    CHECK(max_difference(one.last, slice(all.last, 1, b, b + 1)) <= 1e-12);
  }
}

TEST_CASE("every parameter and the initial state get a gradient") {
  Rng rng(1);
  const MinRecurrentOptions options{
      .input_size = 3, .hidden_size = 4, .num_layers = 2, .bidirectional = true};
  MinGRU gru(options, rng);
  MinLSTM lstm(options, rng);
  for (MinRecurrentLayers* net :
       {static_cast<MinRecurrentLayers*>(&gru), static_cast<MinRecurrentLayers*>(&lstm)}) {
    const Tensor initial = randn({4, 3, 4}, rng).set_requires_grad();
    const GradientAudit audit;
    const auto out = (*net)(random_batch({4, 0, 3}, 3), initial);
    (sum(square(out.states.values)) + sum(square(out.last))).backward();
    NamedTensors leaves = net->parameters();
    leaves.emplace_back("initial", initial);
    CHECK(audit.report(leaves) == "every parameter got a finite, non-zero gradient\n");
    CHECK(initial.grad().shape() == initial.shape());
  }
}

TEST_CASE("single steps equal the whole layer") {
  Rng rng(1);
  MinLSTM net({.input_size = 3, .hidden_size = 4, .num_layers = 2}, rng);
  const std::int64_t B = 3, T = 6;
  const Tensor x = randn({B, T, 3}, rng);
  const MinLSTM::Output all = net(pack(x, RaggedIndex::equal(B, T)));
  const Tensor outputs = reshape(all.states.values, {B, T, 4});
  Tensor state;
  for (std::int64_t t = 0; t < T; ++t) {
    const MinLSTM::Step step = net.step(select(x, 1, t), state);
    CHECK(max_difference(step.output, select(outputs, 1, t)) <= 1e-6);
    state = step.state;
  }
  CHECK(max_difference(state, all.last) <= 1e-6);
}

TEST_CASE("dropout is active between layers, in training only") {
  Rng rng(1);
  MinGRU net({.input_size = 3, .hidden_size = 8, .num_layers = 2, .dropout = 0.5}, rng);
  const Ragged x = random_batch({4, 2}, 3);
  CHECK(max_difference(net(x).states.values, net(x).states.values) > 0);
  CHECK(max_difference(select(net(x).last, 0, 0), select(net(x).last, 0, 0)) == 0);
  net.eval();
  CHECK(max_difference(net(x).states.values, net(x).states.values) == 0);
}

TEST_CASE("both learn to remember the marked value") {
  Rng rng(3);
  MinGRU gru({.input_size = 2, .hidden_size = 16}, rng);
  MinLSTM lstm({.input_size = 2, .hidden_size = 16}, rng);
  const double variance = 1.0 / 12;  // the error of the constant prediction 1/2
  CHECK(learned_error(gru, rng) <= variance / 10);
  CHECK(learned_error(lstm, rng) <= variance / 10);
}

TEST_CASE("invalid arguments are errors") {
  Rng rng(1);
  MinGRU net({.input_size = 3, .hidden_size = 2, .bidirectional = true}, rng);
  net.name_tree("encoder");
  CHECK(message_of<ShapeError>([&] {
          net(random_batch({2, 1}, 3), zeros({1, 2, 2}));
        }) ==
        "MinGRU: initial state (1, 2, 2): must be (layers * directions, B, H) = (2, 2, 2), in "
        "encoder");
  CHECK(message_of<ValueError>([&] {
          net.step(zeros({2, 3}));
        }) ==
        "MinGRU: step: not supported by a bidirectional net, in "
        "encoder");
  CHECK_THROWS_AS(net(random_batch({2, 1}, 4)), ShapeError);
  CHECK(message_of<ValueError>([&] { MinLSTM({.input_size = 3, .hidden_size = 0}, rng); }) ==
        "MinLSTM: hidden_size = 0: must be from 1 to 1073741824");
  CHECK(message_of<ValueError>([&] {
          MinGRU({.input_size = 3, .hidden_size = 2, .dropout = 2}, rng);
        }) == "MinGRU: dropout = 2: must be in [0, 1]");
}
