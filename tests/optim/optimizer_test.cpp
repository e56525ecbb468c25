#include <fovea/core/error.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/sgd.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <functional>
#include <memory>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

Tensor leaf(const Tensor& values) {
  Tensor w = values.clone();
  w.set_requires_grad();
  return w;
}

NamedTensors two_parameters() {
  Rng rng(1);
  return {{"w", leaf(randn({3, 4}, rng))}, {"b", leaf(randn({5}, rng))}};
}

void give_gradients(const NamedTensors& parameters, std::uint64_t seed) {
  Rng rng(seed);
  for (auto [name, parameter] : parameters)
    parameter.set_grad(randn(parameter.shape(), rng, parameter.dtype()));
}

using Maker = std::function<std::unique_ptr<optim::Optimizer>(const NamedTensors&)>;
const Maker makers[] = {
    [](const NamedTensors& p) { return std::make_unique<optim::SGD>(p); },
    [](const NamedTensors& p) {
      return std::make_unique<optim::SGD>(
          p, optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.1});
    },
    [](const NamedTensors& p) { return std::make_unique<optim::Adam>(p); },
    [](const NamedTensors& p) { return std::make_unique<optim::AdamW>(p); },
};

void check_same_numbers(const NamedTensors& a, const NamedTensors& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].first == b[i].first);
    CHECK(a[i].second.to_vector<double>() == b[i].second.to_vector<double>());
  }
}

}  // namespace

TEST_CASE("optimizers: converge to the minimum of a quadratic") {
  for (const Maker& make : makers) {
    const NamedTensors parameters = {{"x", leaf(tensor({3, -2}))}};
    const auto optimizer = make(parameters);
    optimizer->set_lr(0.05);
    for (int i = 0; i < 2000; ++i) {
      Tensor x = parameters[0].second;
      x.set_grad(x.detach() * 2);
      optimizer->step();
    }
    for (const double x : parameters[0].second.to_vector<double>()) CHECK(std::abs(x) < 1e-2);
  }
}

TEST_CASE("optimizers: the first steps by hand, in f64") {
  Tensor w = leaf(full({1}, 2, DType::f64));
  const auto step_with = [&](optim::Optimizer& optimizer, double gradient) {
    w.set_grad(full({1}, gradient, DType::f64));
    optimizer.step();
    return w.item<double>();
  };
  optim::SGD sgd({{"w", w}}, {.lr = 0.1, .momentum = 0.5, .dampening = 0.2, .weight_decay = 0.01});
  CHECK(step_with(sgd, 3) == doctest::Approx(2 - 0.1 * 3.02).epsilon(1e-15));
  const double second = 1.698 - 0.1 * (0.5 * 3.02 + 0.8 * (1 + 0.01 * 1.698));
  CHECK(step_with(sgd, 1) == doctest::Approx(second).epsilon(1e-15));
  w.fill(2);
  optim::AdamW adamw({{"w", w}}, {.lr = 0.1, .weight_decay = 0.5});
  CHECK(step_with(adamw, 3) == doctest::Approx(2 * 0.95 - 0.1 * 3 / (3 + 1e-8)).epsilon(1e-14));
}

TEST_CASE("optimizers: n steps, save, load into a fresh one, n steps, equal 2n steps bit for bit") {
  for (const Maker& make : makers) {
    const NamedTensors straight = two_parameters(), first = two_parameters();
    const auto whole = make(straight), half = make(first);
    NamedTensors checkpoint = first;
    append(checkpoint, "optimizer", half->state());
    std::string file;
    for (std::uint64_t i = 0; i < 10; ++i) {
      if (i == 5) file = to_safetensors(checkpoint);
      if (i == 3) half->set_lr(0.02);
      if (i == 3) whole->set_lr(0.02);
      give_gradients(straight, i);
      whole->step();
      give_gradients(first, i);
      half->step();
    }
    NamedTensors resumed = two_parameters();
    const auto rest = make(resumed);
    NamedTensors target = resumed;
    append(target, "optimizer", rest->state());
    load_into(SafetensorsFile::parse(file, "F"), target);
    CHECK(rest->lr() == 0.02);
    for (std::uint64_t i = 5; i < 10; ++i) {
      give_gradients(resumed, i);
      rest->step();
    }
    check_same_numbers(resumed, straight);
    check_same_numbers(rest->state(), whole->state());
  }
}

TEST_CASE("optimizers: a parameter without a gradient does not change, nor does its state") {
  for (const Maker& make : makers) {
    const NamedTensors parameters = two_parameters(), alone = {{"w", two_parameters()[0].second}};
    const auto optimizer = make(parameters), reference = make(alone);
    const std::vector<float> before = parameters[1].second.to_vector<float>();
    give_gradients(alone, 1);
    Tensor w = parameters[0].second;
    w.set_grad(alone[0].second.grad());
    optimizer->step();
    reference->step();
    CHECK(parameters[1].second.to_vector<float>() == before);
    CHECK(w.to_vector<float>() == alone[0].second.to_vector<float>());
    CHECK(optimizer->state()[1].second.to_vector<int64_t>() == std::vector<int64_t>{1, 0});
    optimizer->zero_grad();
    CHECK(!w.grad().defined());
  }
}

TEST_CASE("optimizers: a parameter under two names is updated once") {
  for (const Maker& make : makers) {
    const NamedTensors single = {{"w", two_parameters()[0].second}};
    const Tensor w = two_parameters()[0].second;
    const NamedTensors tied = {{"w", w}, {"head", w}};
    const auto one = make(single), two = make(tied);
    for (std::uint64_t i = 0; i < 3; ++i) {
      give_gradients(single, i);
      give_gradients({tied[0]}, i);
      one->step();
      two->step();
    }
    CHECK(w.to_vector<float>() == single[0].second.to_vector<float>());
    check_same_numbers(one->state(), two->state());
  }
}

TEST_CASE("optimizers: a state that no training reaches is refused") {
  const NamedTensors p = two_parameters();
  const optim::Adam adam(p);
  const auto message = [&](const std::string& name, const Tensor& value) {
    return message_of<StateError>([&] { adam.check_state("F", name, value, 10); });
  };
  const auto steps = [](std::int64_t n) { return from_data(std::vector<std::int64_t>{3, n}, {2}); };
  adam.check_state("F", "steps", steps(10), 10);
  for (const std::int64_t n : {std::int64_t{-1}, std::int64_t{11}, std::int64_t{1} << 62})
    CHECK(message("steps", steps(n)) == fmt::format("Adam: F: steps[1] = {}: must be from 0 to 10, "
                                                    "the number of training steps",
                                                    n));
  CHECK(message("lr", full({1}, -1, DType::f64)) == "Adam: F: lr[0] = -1: must be at least 0");
  CHECK(message("lr", full({1}, NAN, DType::f64)) == "Adam: F: lr[0] = nan: must be finite");
  CHECK(message("exp_avg.w", tensor({1, NAN})) == "Adam: F: exp_avg.w[1] = nan: must be finite");
  adam.check_state("F", "exp_avg.w", tensor({1, -2}), 10);
  CHECK(message("exp_avg_sq.w", tensor({1, -2})) ==
        "Adam: F: exp_avg_sq.w[1] = -2: must be at least 0");
  CHECK(message("exp_avg_sq.w", tensor({INFINITY})) ==
        "Adam: F: exp_avg_sq.w[0] = inf: must be finite");
}

TEST_CASE("optimizers: state names") {
  const NamedTensors p = {{"a.weight", leaf(ones({2}))}};
  const auto names_of = [](const optim::Optimizer& optimizer) {
    std::vector<std::string> names;
    for (const auto& [name, value] : optimizer.state()) names.push_back(name);
    return names;
  };
  using Names = std::vector<std::string>;
  CHECK(names_of(optim::SGD(p)) == Names{"lr", "steps"});
  CHECK(names_of(optim::SGD(p, {.momentum = 0.9})) == Names{"lr", "steps", "momentum.a.weight"});
  CHECK(names_of(optim::Adam(p)) ==
        Names{"lr", "steps", "exp_avg.a.weight", "exp_avg_sq.a.weight"});
}

TEST_CASE("optimizers: groups have separate learning rates and weight decays") {
  const NamedTensors p = two_parameters(), q = two_parameters();
  optim::SGD grouped(
      {{.parameters = {p[0]}}, {.parameters = {p[1]}, .lr_scale = 3, .weight_decay = 0.0}},
      {.lr = 0.1, .weight_decay = 0.5});
  optim::SGD w_alone({{"w", q[0].second}}, {.lr = 0.1, .weight_decay = 0.5});
  optim::SGD b_alone({{"b", q[1].second}}, {.lr = 0.1 * 3});
  give_gradients(p, 1);
  give_gradients(q, 1);
  grouped.step();
  w_alone.step();
  b_alone.step();
  check_same_numbers(p, q);
  grouped.set_lr(0);
  grouped.step();
  check_same_numbers(p, q);
}

TEST_CASE("optimizers: the result does not depend on the number of threads") {
  const int before = kernels::num_threads();
  std::vector<float> expected;
  double norm = 0;
  for (const int threads : {1, 2, 3, 8}) {
    kernels::set_num_threads(threads);
    Rng rng(3);
    const NamedTensors p = {{"w", leaf(randn({100, 1001}, rng))}};
    optim::Adam adam(p);
    for (std::uint64_t i = 0; i < 3; ++i) {
      give_gradients(p, i);
      adam.step();
    }
    if (threads == 1) expected = p[0].second.to_vector<float>();
    if (threads == 1) norm = sum_of_squares(p[0].second);
    CHECK(p[0].second.to_vector<float>() == expected);
    CHECK(sum_of_squares(p[0].second) == norm);
  }
  kernels::set_num_threads(before);
}

TEST_CASE("optimizers: bad options are named") {
  const NamedTensors p = {{"w", leaf(ones({2}))}};
  CHECK(message_of<ValueError>([&] { optim::SGD(p, {.lr = -1}); }) ==
        "SGD: lr = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([&] { optim::SGD(p, {.weight_decay = -1}); }) ==
        "SGD: weight_decay = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([&] { optim::SGD(p, {.momentum = -1}); }) ==
        "SGD: momentum = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([&] { optim::SGD(p, {.dampening = -1}); }) ==
        "SGD: dampening = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([&] { optim::SGD(p, {.nesterov = true}); }) ==
        "SGD: momentum = 0, dampening = 0: nesterov requires momentum > 0 and dampening = 0");
  CHECK(message_of<ValueError>([&] { optim::Adam(p, {.beta1 = 1}); }) ==
        "Adam: beta1 = 1: must be at least 0 and below 1");
  CHECK(message_of<ValueError>([&] { optim::AdamW(p, {.beta2 = std::nan("")}); }) ==
        "AdamW: beta2 = nan: must be at least 0 and below 1");
  CHECK(message_of<ValueError>([&] { optim::Adam(p, {.eps = -1}); }) ==
        "Adam: eps = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([&] {
          optim::Adam(std::vector<optim::ParameterGroup>{{.parameters = p, .lr_scale = -1}});
        }) == "Adam: lr_scale = -1: must be finite and not negative");
}

TEST_CASE("optimizers: what cannot be trained is named") {
  const Tensor w = leaf(ones({2}));
  CHECK(message_of<ValueError>([&] { optim::Adam(NamedTensors{}); }) ==
        "Adam: there are no parameters");
  CHECK(message_of<ValueError>([&] {
          optim::Adam(std::vector<optim::ParameterGroup>{{{{"a", w}}}, {{{"b", w}}}});
        }) == "Adam: 'a' and 'b' of two groups are the same parameter or have the same name");
  const Tensor other = leaf(ones({1}));
  CHECK(message_of<ValueError>([&] {
          optim::Adam(std::vector<optim::ParameterGroup>{{{{"a", other}, {"b", w}}},
                                                         {{{"view", w.detach()}}}});
        }) == "Adam: 'view' shares memory with a parameter of another group");
  Tensor second = w.detach();
  second.set_requires_grad();
  CHECK(message_of<ValueError>([&] {
          optim::SGD(std::vector<optim::ParameterGroup>{{{{"a", w}}}, {{{"b", second}}}});
        }) == "SGD: 'a' and 'b' are two leaves that share memory: must be one tensor");
  CHECK(message_of<ValueError>([&] {
          optim::Adam(NamedTensors{{"a", w}, {"a", leaf(ones({1}))}});
        }) == "Adam: 'a' is listed twice");
  CHECK(message_of<DTypeError>([&] {
          optim::Adam(NamedTensors{{"i", zeros({1}, DType::i64)}});
        }) == "Adam: 'i' is i64: must be f32 or f64");
  CHECK(message_of<StateError>([&] {
          optim::Adam(NamedTensors{{"y", w * 2}});
        }) == "Adam: 'y' was computed by an op: only leaves can be trained");
}

TEST_CASE("optimizer steps: tensors that do not belong together are named") {
  Tensor w = ones({2}), v = zeros({2}), none;
  CHECK(message_of<ShapeError>([&] { sgd_step(w, ones({3}), none, {}, true); }) ==
        "sgd_step: w is (2,), dw is (3,): shapes must be equal");
  CHECK(message_of<DTypeError>([&] { sgd_step(w, ones({2}, DType::f64), none, {}, true); }) ==
        "sgd_step: w is f32, dw is f64: dtypes must be equal");
  CHECK(message_of<ValueError>([&] { adam_step(w, ones({2}), v, v, {}, 0); }) ==
        "adam_step: t = 0: must be 1 or more");
  Tensor strided = alias(ones({2, 2}), {2, 2}, {1, 2});
  CHECK(message_of<ValueError>([&] {
          sgd_step(strided, ones({2, 2}), none, {}, true);
        }) == "sgd_step: w (2, 2): must be contiguous");
}

TEST_CASE(
    "Adam, AdamW: gradients whose squares overflow make steps of lr, and leave finite states") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const bool decoupled : {false, true}) {
      const bool single = dtype == DType::f32;
      const std::vector<double> sizes =
          single ? std::vector<double>{1e18, 1.8e19, 2e19, 1e20, -3e38, 0}
                 : std::vector<double>{1e150, 1.3e154, 2e154, 1e200, -1e308, 0};
      const Tensor dw = from_data(sizes, {6}).to(dtype);
      Tensor w = zeros({6}, dtype), m = zeros({6}, dtype), v = zeros({6}, dtype);
      for (std::int64_t t = 1; t <= 40; ++t) adam_step(w, dw, m, v, {.decoupled = decoupled}, t);
      const auto found = w.to_vector<double>();
      for (std::size_t i = 0; i < 6; ++i) {
        const double sign = sizes[i] < 0 ? -1 : sizes[i] > 0 ? 1 : 0;
        CHECK(found[i] == doctest::Approx(-40e-3 * sign).epsilon(1e-4));
      }
      for (const Tensor& state : {m, v})
        for (const double x : state.to_vector<double>()) CHECK(std::isfinite(x));
      // Once they are common again, so are the steps.
      for (std::int64_t t = 41; t <= 45; ++t)
        adam_step(w, ones({6}, dtype), m, v, {.decoupled = decoupled}, t);
      for (const double x : w.to_vector<double>()) CHECK(std::isfinite(x));
    }
}

TEST_CASE("Adam: a gradient that is not finite shows in the weight") {
  for (const double number : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Tensor w = zeros({2}), m = zeros({2}), v = zeros({2});
    adam_step(w, tensor({static_cast<float>(number), 1}), m, v, {}, 1);
    CHECK(std::isnan(w.to_vector<double>()[0]));
    CHECK(w.to_vector<double>()[1] == doctest::Approx(-1e-3));
  }
}
