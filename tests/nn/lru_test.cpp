// The linear recurrent unit: its equation in complex numbers, initialization, and block.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/lru.h>
#include <fovea/optim/adam.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <complex>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

using Number = std::complex<double>;

Ragged random_batch(const std::vector<std::int64_t>& lengths, std::int64_t width) {
  Rng rng(9);
  const RaggedIndex index(lengths);
  return {randn({index.total(), width}, rng, DType::f64), index};
}

// The parameters in the form of the paper's equation.
struct Equation {
  std::size_t H, C;
  std::vector<Number> lambda;
  std::vector<double> gamma, B_re, B_im, C_re, C_im, D;

  explicit Equation(const LRU& unit)
      : H(static_cast<std::size_t>(unit.nu_log.numel())),
        C(static_cast<std::size_t>(unit.D.numel())),
        B_re(unit.B_re.to_vector<double>()),
        B_im(unit.B_im.to_vector<double>()),
        C_re(unit.C_re.to_vector<double>()),
        C_im(unit.C_im.to_vector<double>()),
        D(unit.D.to_vector<double>()) {
    const auto nu = unit.nu_log.to_vector<double>(), theta = unit.theta_log.to_vector<double>();
    for (std::size_t i = 0; i < H; ++i)
      lambda.push_back(std::exp(Number(-std::exp(nu[i]), std::exp(theta[i]))));
    for (const double g : unit.gamma_log.to_vector<double>()) gamma.push_back(std::exp(g));
  }

  void step(const double* x, std::vector<Number>& h, double* y) const {
    for (std::size_t i = 0; i < H; ++i) {
      Number input = 0;
      for (std::size_t c = 0; c < C; ++c) input += Number(B_re[i * C + c], B_im[i * C + c]) * x[c];
      h[i] = lambda[i] * h[i] + gamma[i] * input;
    }
    for (std::size_t c = 0; c < C; ++c) {
      Number sum = 0;
      for (std::size_t i = 0; i < H; ++i) sum += Number(C_re[c * H + i], C_im[c * H + i]) * h[i];
      y[c] = sum.real() + D[c] * x[c];
    }
  }
};

// One sequence from a state of zeros.    x: (T, C)  ->  (T, C)
Tensor by_equation(const LRU& unit, const Tensor& x) {
  const Equation equation(unit);
  std::vector<Number> h(equation.H);
  std::vector<double> in = x.to_vector<double>(), out(in.size());
  for (std::size_t at = 0; at < in.size(); at += equation.C)
    equation.step(in.data() + at, h, out.data() + at);
  return from_data(out, x.shape());
}

Tensor turned(const Tensor& x) { return flip(x, {0}); }

}  // namespace

TEST_CASE("the outputs follow the paper's equation, in both directions") {
  Rng rng(1);
  LRU unit({.width = 3, .state_size = 5}, rng);
  test::to_f64(unit);
  const Ragged x = random_batch({4, 0, 1, 1030}, 3);
  const Tensor forward = unit(x).outputs.values;
  const Tensor backward = unit(x, {}, /*reverse=*/true).outputs.values;
  for (std::int64_t b = 0; b < 4; ++b) {
    const std::int64_t from = x.index.offset(b), to = x.index.offset(b + 1);
    if (from == to) continue;
    const auto own = [&](const Tensor& all) { return slice(all, 0, from, to); };
    CHECK(max_difference(own(forward), by_equation(unit, own(x.values))) <= 1e-12);
    const Tensor expected = turned(by_equation(unit, turned(own(x.values))));
    CHECK(max_difference(own(backward), expected) <= 1e-12);
  }
}

TEST_CASE("names and shapes are the paper's code's") {
  Rng rng(1);
  LRUBlock block({.lru = {.width = 3, .state_size = 2}, .bidirectional = true}, rng);
  std::string listed;
  for (const auto& [name, value] : block.parameters())
    listed += name + " " + value.shape().str() + "\n";
  const std::string unit =
      "nu_log (2,)\ntheta_log (2,)\ngamma_log (2,)\nB_re (2, 3)\nB_im (2, 3)\n"
      "C_re (3, 2)\nC_im (3, 2)\nD (3,)\n";
  const auto under = [&](const std::string& prefix) {
    std::string all = prefix;
    for (const char c : unit) all += c == '\n' ? "\n" + prefix : std::string(1, c);
    return all.substr(0, all.size() - prefix.size());
  };
  CHECK(listed == "norm.weight (3,)\nnorm.bias (3,)\n" + under("lru.") + under("lru_reverse.") +
                      "out.weight (6, 3)\nout.bias (6,)\n");
}

TEST_CASE("lambda is initialized on the ring, and gamma keeps the states' magnitude") {
  Rng rng(1);
  const LRU unit({.width = 2, .state_size = 4000, .r_min = 0.4, .r_max = 0.8, .max_phase = 0.3},
                 rng);
  const Equation start(unit);
  double inside = 0;
  for (std::size_t i = 0; i < start.H; ++i) {
    const double radius = std::abs(start.lambda[i]), angle = std::arg(start.lambda[i]);
    CHECK((radius >= 0.4 - 1e-6 && radius <= 0.8 + 1e-6 && angle >= 0 && angle <= 0.3 + 1e-6));
    CHECK(start.gamma[i] == doctest::Approx(std::sqrt(1 - radius * radius)));
    inside += radius < 0.6 ? 1 : 0;
  }
  // Uniform on the ring's area: (0.36 - 0.16) / (0.64 - 0.16) of the values are below 0.6.
  CHECK(inside / 4000 == doctest::Approx(0.4167).epsilon(0.06));
}

TEST_CASE("the whole disc is finite from the start") {
  Rng rng(1);
  LRU unit({.width = 2, .state_size = 20'000}, rng);
  for (const auto& [name, w] : unit.parameters())
    CHECK(std::isfinite(max_difference(w, zeros(w.shape()))));
}

TEST_CASE("every parameter and the initial state get a gradient") {
  Rng rng(1);
  LRUBlock block({.lru = {.width = 3, .state_size = 4}, .bidirectional = true}, rng);
  const Tensor initial = randn({2, 3, 8}, rng).set_requires_grad();
  const Ragged x = random_batch({4, 0, 3}, 3);
  const GradientAudit audit;
  const LRUBlock::Output out = block({x.values.to(DType::f32), x.index}, initial);
  CHECK(out.last.shape() == initial.shape());
  (sum(square(out.outputs.values)) + sum(square(out.last))).backward();
  NamedTensors leaves = block.parameters();
  leaves.emplace_back("initial", initial);
  CHECK(audit.report(leaves) == "every parameter got a finite, non-zero gradient\n");
  CHECK(initial.grad().shape() == initial.shape());
}

TEST_CASE("a block equals its parts") {
  Rng rng(1);
  LRUBlock block({.lru = {.width = 3, .state_size = 4}, .bidirectional = true}, rng);
  const Ragged wide = random_batch({4, 2}, 3);
  const Ragged x{wide.values.to(DType::f32), wide.index};
  const Ragged normed{block.norm(x.values), x.index};
  const Tensor mixed = block.lru(normed).outputs.values +
                       (*block.lru_reverse)(normed, {}, /*reverse=*/true).outputs.values;
  const Tensor gates = block.out(gelu(mixed));
  const Tensor expected = x.values + slice(gates, 1, 0, 3) * sigmoid(slice(gates, 1, 3, 6));
  CHECK(max_difference(block(x).outputs.values, expected) <= 1e-6);
  LRUBlock dropping({.lru = {.width = 3, .state_size = 4}, .dropout = 0.5}, rng);
  CHECK(max_difference(dropping(x).outputs.values, dropping(x).outputs.values) > 0);
  dropping.eval();
  CHECK(max_difference(dropping(x).outputs.values, dropping(x).outputs.values) == 0);
}

TEST_CASE("single steps equal the whole block") {
  Rng rng(1);
  LRUBlock block({.lru = {.width = 3, .state_size = 4}}, rng);
  const std::int64_t B = 2, T = 6;
  const Tensor x = randn({B, T, 3}, rng);
  const LRUBlock::Output all = block(pack(x, RaggedIndex::equal(B, T)));
  const Tensor outputs = reshape(all.outputs.values, {B, T, 3});
  Tensor state;
  for (std::int64_t t = 0; t < T; ++t) {
    const LRUBlock::Step step = block.step(select(x, 1, t), state);
    CHECK(max_difference(step.output, select(outputs, 1, t)) <= 1e-5);
    state = step.state;
  }
  CHECK(max_difference(state, all.last) <= 1e-5);
}

TEST_CASE("an LRU learns to repeat its input of five steps ago") {
  Rng rng(3);
  LRU unit({.width = 1, .state_size = 32, .r_min = 0.5, .r_max = 0.99}, rng);
  optim::Adam adam(unit.parameters(), {.lr = 1e-2});
  const std::int64_t B = 16, T = 30, delay = 5;
  const RaggedIndex index = RaggedIndex::equal(B, T);
  const auto error = [&] {
    const Tensor x = randn({B, T, 1}, rng);
    const Tensor wanted = pad(slice(x, 1, 0, T - delay), {0, 0, delay, 0});  // (B, T, 1)
    return mse_loss(unit({reshape(x, {B * T, 1}), index}).outputs.values,
                    reshape(wanted, {B * T, 1}));
  };
  for (int step = 0; step < 400; ++step) {
    adam.zero_grad();
    error().backward();
    adam.step();
  }
  CHECK(error().item<double>() <= 0.05);  // 0.83 for the constant prediction 0
}

TEST_CASE("invalid arguments are errors") {
  Rng rng(1);
  CHECK(message_of<ValueError>([&] {
          LRU({.width = 1, .state_size = 1, .r_min = 0.9, .r_max = 0.8}, rng);
        }) == "LRU: r_min = 0.9, r_max = 0.8: must satisfy 0 <= r_min < r_max <= 1");
  CHECK(message_of<ValueError>([&] { LRU({.width = 1, .state_size = 0}, rng); }) ==
        "LRU: state_size = 0: must be from 1 to 1073741824");
  CHECK(message_of<ValueError>([&] { LRU({.width = 1, .state_size = 1, .max_phase = 0}, rng); }) ==
        "LRU: max_phase = 0: must be above 0");
  LRUBlock block({.lru = {.width = 3, .state_size = 2}, .bidirectional = true}, rng);
  block.name_tree("layers.0");
  const Ragged x{zeros({2, 3}), RaggedIndex({2})};
  CHECK(message_of<ShapeError>([&] {
          block(x, zeros({1, 1, 4}));
        }) ==
        "LRUBlock: initial state (1, 1, 4): must be (directions, B, 2H) = (2, 1, 4), in "
        "layers.0");
  CHECK(message_of<ValueError>([&] {
          block.step(zeros({2, 3}));
        }) ==
        "LRUBlock: step: not supported by a bidirectional block, in "
        "layers.0");
  CHECK(message_of<ShapeError>([&] {
          block.lru(x, zeros({1, 3}));
        }) == "complex_linear_recurrence: initial state (1, 3): must be (1, 4), in layers.0.lru");
  CHECK_THROWS_AS(block({zeros({2, 4}), RaggedIndex({2})}), ShapeError);
}
