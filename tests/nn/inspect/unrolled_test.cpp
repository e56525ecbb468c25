// unroll(): the values and gradients of the net itself, and the total derivative of every state.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/inspect/unrolled.h>
#include <fovea/tests/support/compare.h>

#include <functional>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::nn::inspect;
using test::max_difference;

namespace {

const std::vector<std::int64_t> lengths{4, 1, 0, 6};

Ragged random_batch(std::int64_t width, DType dtype = DType::f32) {
  Rng rng(9);
  const RaggedIndex index(lengths);
  return {randn({index.total(), width}, rng, dtype), index};
}

// Parameters in f64, a little larger: differences then show the derivative to nine digits.
class Doubled final : public Visitor {
 public:
  void parameter(std::string_view, Tensor& value) override {
    value = (1.5 * value.detach().to(DType::f64)).detach().set_requires_grad();
  }
  void child(std::string_view, Module& module) override { module.visit(*this); }
};

// Every output weighted by a fixed random value, to detect any wrong gradient.
Tensor weighed(const Tensor& x, std::uint64_t seed) {
  Rng rng(seed);
  return sum(square(x) * randn(x.shape(), rng, x.dtype()));
}

template <class Net>
void check_same_numbers(const RecurrentOptions& options) {
  Rng rng(1);
  Net net(options, rng);
  const Ragged x = random_batch(options.input_size);
  const RngState drawn = rng.state();
  const auto whole = net(x);
  (weighed(whole.states.values, 2) + weighed(whole.last, 3)).backward();
  std::vector<Tensor> grads;
  for (const auto& [name, value] : net.parameters()) grads.push_back(value.grad().clone());
  net.zero_grad();

  rng.set_state(drawn);  // the same dropout
  const Unrolled steps = unroll(net, x);
  CHECK(max_difference(steps.states.values, whole.states.values) == 0);
  CHECK(max_difference(steps.last, whole.last) == 0);
  REQUIRE(steps.last_cell.defined() == whole.last_cell.defined());
  if (whole.last_cell.defined()) CHECK(max_difference(steps.last_cell, whole.last_cell) == 0);
  (weighed(steps.states.values, 2) + weighed(steps.last, 3)).backward();
  std::size_t i = 0;
  for (const auto& named : net.parameters())
    CHECK_MESSAGE(max_difference(named.second.grad(), grads[i++]) <= 1e-6, named.first);
}

// The loss of the rest of a sequence, rows (row, end), as a function of the state at `row`.
using Rest = std::function<Tensor(const Tensor& h)>;

// dL/dh by central differences.    h: (1, H)
std::vector<double> difference_quotient(const Rest& loss, const Tensor& h) {
  std::vector<double> slope;
  for (std::int64_t i = 0; i < h.numel(); ++i) {
    const auto at = [&](double step) {
      Tensor moved = h.clone();
      moved.mutable_data<double>()[i] += step;
      return loss(moved).item<double>();
    };
    slope.push_back((at(1e-5) - at(-1e-5)) / 2e-5);
  }
  return slope;
}

// Calls check(b, s, row, after): `after` is the loss after step s of sequence b.
template <class F>
void for_each_step(const Ragged& x, const F& check) {
  for (std::int64_t b = 0; b < x.index.batch_size(); ++b)
    for (std::int64_t s = 0; s < x.index.length(b); ++s) {
      const std::int64_t row = x.index.offset(b) + s, end = x.index.offset(b + 1);
      check(b, s, row,
            Ragged{slice(x.values, 0, row + 1, end),
                   RaggedIndex(std::vector<std::int64_t>{end - row - 1})});
    }
}

void check_gradient(const std::vector<Tensor>& steps, std::int64_t b, std::int64_t s,
                    const std::vector<double>& expected) {
  const Tensor row = select(steps[static_cast<std::size_t>(s)].grad(), 0, b);
  CHECK_MESSAGE(max_difference(row, from_data(expected, row.shape())) <= 1e-8,
                "sequence " << b << ", step " << s);
}

void retain(const std::vector<Tensor>& steps) {
  for (Tensor h : steps) h.retain_grad();
}

}  // namespace

TEST_CASE("the values and the gradients equal those of the net") {
  for (const std::int64_t layers : {1, 2})
    for (const bool both : {false, true})
      for (const bool bias : {false, true}) {
        const RecurrentOptions options{.input_size = 3,
                                       .hidden_size = 5,
                                       .num_layers = layers,
                                       .bias = bias,
                                       .bidirectional = both,
                                       .dropout = 0.3};
        check_same_numbers<RNN>(options);
        check_same_numbers<GRU>(options);
        check_same_numbers<LSTM>(options);
      }
}

TEST_CASE("with all options of a net: norms, projections, zoneout, masks") {
  RecurrentOptions options{
      .input_size = 3, .hidden_size = 5, .num_layers = 2, .bidirectional = true};
  options.variational_dropout = 0.2;
  options.zoneout = 0.3;
  for (const bool norm : {false, true}) {
    options.layer_norm = norm;
    check_same_numbers<RNN>(options);
    check_same_numbers<GRU>(options);
    RecurrentOptions of_lstm = options;
    of_lstm.cell_zoneout = 0.1;
    check_same_numbers<LSTM>(of_lstm);
    of_lstm.proj_size = 4;
    of_lstm.coupled_gates = true;
    check_same_numbers<LSTM>(of_lstm);
  }
}

TEST_CASE("the steps start from the initial states") {
  Rng rng(1);
  LSTM net({.input_size = 3, .hidden_size = 5}, rng);
  const Ragged x = random_batch(3);
  const Tensor h = randn({1, 4, 5}, rng), c = randn({1, 4, 5}, rng);
  const LSTM::Output whole = net(x, h, c);
  const Unrolled steps = unroll(net, x, h, c);
  CHECK(max_difference(steps.states.values, whole.states.values) == 0);
  CHECK(max_difference(select(steps.last, 1, 2), select(h, 1, 2)) == 0);  // a sequence of length 0
  CHECK(max_difference(select(steps.last_cell, 1, 2), select(c, 1, 2)) == 0);
}

TEST_CASE("invalid arguments are errors") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2}, rng);
  const Ragged x{zeros({4, 3}), RaggedIndex(std::vector<std::int64_t>{3, 2})};
  CHECK(test::message_of<ShapeError>([&] { unroll(net, x); }) ==
        "GRU: input (4, 3) for 5 packed rows: must be (N, input_size) = (5, 3)");
  CHECK_THROWS_AS(unroll(net, random_batch(4)), ShapeError);
  CHECK_THROWS_AS(unroll(net, random_batch(3), zeros({1, 3, 2})), ShapeError);
}

TEST_CASE("layers and directions are named as their parameters") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 2, .num_layers = 2, .bidirectional = true}, rng);
  const Unrolled run = unroll(net, random_batch(3));
  std::string names;
  for (const UnrolledLayer& layer : run.layers) {
    names += layer.name + (layer.states.reverse ? " < " : " > ");
    CHECK(layer.states.steps.size() == 6);
    CHECK(layer.cells.steps.empty());
  }
  CHECK(names == "l0 > l0_reverse < l1 > l1_reverse < ");
}

TEST_CASE("a state of a GRU has its whole derivative: the rest of the sequence as a function") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 4}, rng);
  Doubled().child("", net);
  const Ragged x = random_batch(3, DType::f64);
  const Tensor w = randn({x.index.total(), 4}, rng, DType::f64);
  const Unrolled run = unroll(net, x);
  retain(run.layers[0].states.steps);
  sum(w * square(run.states.values)).backward();
  for_each_step(x, [&](std::int64_t b, std::int64_t s, std::int64_t row, const Ragged& after) {
    const NoGrad guard;
    const Rest loss = [&](const Tensor& h) {  // the fused op, and none of unroll()'s code
      const Tensor later = net(after, unsqueeze(h, 0)).states.values;
      return sum(slice(w, 0, row, row + 1) * square(h)) +
             sum(slice(w, 0, row + 1, row + 1 + after.index.total()) * square(later));
    };
    const Tensor h = slice(run.states.values, 0, row, row + 1);
    check_gradient(run.layers[0].states.steps, b, s, difference_quotient(loss, h));
  });
}

TEST_CASE("states and cells of an LSTM have theirs, each with the other fixed") {
  Rng rng(1);
  LSTM net({.input_size = 3, .hidden_size = 4}, rng);
  Doubled().child("", net);
  const Ragged x = random_batch(3, DType::f64);
  const Tensor w = randn({x.index.total(), 4}, rng, DType::f64);
  const Unrolled run = unroll(net, x);
  const UnrolledLayer& layer = run.layers[0];
  retain(layer.states.steps);
  retain(layer.cells.steps);
  // The final cells are part of the loss, so that every cell has a gradient.
  (sum(w * square(run.states.values)) + sum(square(run.last_cell))).backward();
  for_each_step(x, [&](std::int64_t b, std::int64_t s, std::int64_t row, const Ragged& after) {
    const NoGrad guard;
    const auto loss = [&](const Tensor& h, const Tensor& c) {
      const LSTM::Output later = net(after, unsqueeze(h, 0), unsqueeze(c, 0));
      return sum(slice(w, 0, row, row + 1) * square(h)) + sum(square(later.last_cell)) +
             sum(slice(w, 0, row + 1, row + 1 + after.index.total()) * square(later.states.values));
    };
    const Tensor h = slice(run.states.values, 0, row, row + 1);
    const Tensor c = slice(layer.cells.steps[static_cast<std::size_t>(s)], 0, b, b + 1);
    check_gradient(layer.states.steps, b, s,
                   difference_quotient([&](const Tensor& moved) { return loss(moved, c); }, h));
    check_gradient(layer.cells.steps, b, s,
                   difference_quotient([&](const Tensor& moved) { return loss(h, moved); }, c));
  });
}

TEST_CASE("no rows at all") {
  Rng rng(1);
  LSTM net({.input_size = 3, .hidden_size = 2, .num_layers = 2}, rng);
  const Ragged nothing{zeros({0, 3}), RaggedIndex(std::vector<std::int64_t>{0, 0})};
  const Unrolled run = unroll(net, nothing);
  CHECK(run.states.values.shape() == Shape{0, 2});
  CHECK(run.last.shape() == Shape{2, 2, 2});
  CHECK(run.last_cell.shape() == Shape{2, 2, 2});
  CHECK(run.layers[0].states.steps.empty());
}
