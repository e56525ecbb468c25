#include <fovea/core/error.h>
#include <fovea/core/observe.h>
#include <fovea/core/tensor.h>
#include <fovea/optim/clip.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

Tensor with_gradient(const Tensor& gradient) {
  Tensor w = zeros(gradient.shape(), gradient.dtype());
  w.set_requires_grad();
  w.set_grad(gradient);
  return w;
}

std::vector<float> gradient_of(const NamedTensors& parameters, std::size_t i) {
  return parameters[i].second.grad().to_vector<float>();
}

}  // namespace

TEST_CASE("clip_grad_norm: all gradients are scaled by one factor, the norm before is returned") {
  const NamedTensors p = {{"a", with_gradient(tensor({3, 0}))},
                          {"none", zeros({2})},
                          {"b", with_gradient(tensor({4}))}};
  CHECK(optim::clip_grad_norm(p, 10) == 5);
  CHECK(gradient_of(p, 0) == std::vector<float>{3, 0});
  CHECK(optim::clip_grad_norm(p, 1) == 5);
  CHECK(gradient_of(p, 0)[0] == doctest::Approx(0.6).epsilon(1e-6));
  CHECK(gradient_of(p, 2)[0] == doctest::Approx(0.8).epsilon(1e-6));
  CHECK(optim::clip_grad_norm({}, 1) == 0);
  CHECK(!p[1].second.grad().defined());
}

TEST_CASE("clip_grad_norm: a gradient with another owner is not overwritten") {
  const Tensor shared = tensor({3, 4});
  const NamedTensors p = {{"a", with_gradient(shared)}, {"b", with_gradient(shared)}};
  optim::clip_grad_norm(p, 1);
  CHECK(shared.to_vector<float>() == std::vector<float>{3, 4});
  CHECK(gradient_of(p, 0) == gradient_of(p, 1));
}

TEST_CASE("clipping: a parameter under two names is clipped once") {
  const Tensor w = with_gradient(tensor({3, 4}));
  const NamedTensors tied = {{"embedding", w}, {"head", w}, {"view", w.detach()}};
  CHECK(optim::clip_grad_norm(tied, 2.5) == 5);
  CHECK(gradient_of(tied, 0)[0] == doctest::Approx(1.5).epsilon(1e-6));
  CHECK(optim::clip_grad_norm({{"view", w.detach()}, {"w", w}}, 1) ==
        doctest::Approx(2.5).epsilon(1e-6));
  CHECK(gradient_of(tied, 0)[0] == doctest::Approx(0.6).epsilon(1e-6));
  optim::clip_grad_value(tied, 0.7);
  CHECK(gradient_of(tied, 0)[1] == 0.7f);
  const NamedTensors twice = {{"w", w}, {"w", with_gradient(tensor({1}))}};
  CHECK(message_of<ValueError>([&] { optim::clip_grad_norm(twice, 1); }) ==
        "clip_grad_norm: 'w' is listed twice");
  CHECK(message_of<ValueError>([&] { optim::clip_grad_value(twice, 1); }) ==
        "clip_grad_value: 'w' is listed twice");
}

TEST_CASE("clip_grad_norm: squares neither overflow nor underflow") {
  CHECK(optim::clip_grad_norm({{"a", with_gradient(tensor({3e30f, 4e30f}))}}, 1) ==
        doctest::Approx(5e30).epsilon(1e-6));
  CHECK(optim::clip_grad_norm({{"a", with_gradient(tensor({3e-30f, 4e-30f}))}}, 1) ==
        doctest::Approx(5e-30).epsilon(1e-6));
}

TEST_CASE("clip_grad_norm: f32 gradients are read once, whatever their values") {
  struct Names : OpObserver {
    void on_op(const OpEvent& op) noexcept override { seen.emplace_back(op.name); }
    std::vector<std::string> seen;
  } names;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {0.0f, infinity, std::nanf("")}) {
    const NamedTensors p = {{"a", with_gradient(tensor({0, value}))}};
    names.seen.clear();
    const ObserveOps observe(names);
    const double norm = optim::clip_grad_norm(p, 1);
    CHECK((std::isnan(value) ? std::isnan(norm) : norm == value));
    CHECK(names.seen == std::vector<std::string>{"sum_of_squares"});
  }
  const NamedTensors zero = {{"a", with_gradient(zeros({2}, DType::f64))}};
  CHECK(optim::clip_grad_norm(zero, 1) == 0);
}

TEST_CASE("clip_grad_norm: f64 and f32 gradients at the ends of their range") {
  const auto f64 = [](std::vector<double> values) {
    const auto n = static_cast<std::int64_t>(values.size());
    return with_gradient(from_data(values, {n}));
  };
  const NamedTensors huge = {{"a", f64({3e200, 0})}, {"b", f64({4e200})}};
  CHECK(optim::clip_grad_norm(huge, 1, {.error_if_nonfinite = true}) ==
        doctest::Approx(5e200).epsilon(1e-12));
  CHECK(huge[0].second.grad().to_vector<double>()[0] == doctest::Approx(0.6).epsilon(1e-12));
  CHECK(huge[1].second.grad().to_vector<double>()[0] == doctest::Approx(0.8).epsilon(1e-12));
  CHECK(optim::clip_grad_norm({{"a", f64({3e-200, 4e-200})}}, 1) ==
        doctest::Approx(5e-200).epsilon(1e-12));
  // The factor, 1e-42, is subnormal in f32.
  const NamedTensors many = {{"a", with_gradient(full({100, 100}, 3e38))}};
  CHECK(optim::clip_grad_norm(many, 1e-2) == doctest::Approx(3e40).epsilon(1e-6));
  CHECK(gradient_of(many, 0)[0] == doctest::Approx(1e-4).epsilon(1e-6));
}

TEST_CASE("clip_grad_norm: a norm that is not finite changes nothing, or is an error") {
  const float infinity = std::numeric_limits<float>::infinity();
  const NamedTensors p = {{"a", with_gradient(tensor({1, 2}))},
                          {"b", with_gradient(tensor({infinity}))}};
  CHECK(std::isinf(optim::clip_grad_norm(p, 1)));
  CHECK(gradient_of(p, 0) == std::vector<float>{1, 2});
  CHECK(message_of<NonFiniteError>([&] {
          optim::clip_grad_norm(p, 1, {.error_if_nonfinite = true});
        }) == "clip_grad_norm: gradient norm of 'b' = inf: must be finite");
  const NamedTensors q = {{"a", with_gradient(tensor({std::nanf(""), 1}))}};
  CHECK(std::isnan(optim::clip_grad_norm(q, 1)));
  CHECK(gradient_of(q, 0)[1] == 1);
  const NamedTensors f64 = {
      {"a", with_gradient(full({1}, std::nan(""), DType::f64))},  // not hidden by the next one
      {"b", with_gradient(full({1}, 2, DType::f64))}};
  CHECK(std::isnan(optim::clip_grad_norm(f64, 1)));
}

TEST_CASE("clip_grad_value: each element is moved into the interval") {
  const NamedTensors p = {{"a", with_gradient(tensor({-3, 0.5f, 7}))}, {"none", zeros({2})}};
  optim::clip_grad_value(p, 1);
  CHECK(gradient_of(p, 0) == std::vector<float>{-1, 0.5f, 1});
}

TEST_CASE("clipping: bad limits are named") {
  CHECK(message_of<ValueError>([] { optim::clip_grad_norm({}, 0); }) ==
        "clip_grad_norm: max_norm = 0: must be above 0");
  CHECK(message_of<ValueError>([] { optim::clip_grad_value({}, -1); }) ==
        "clip_grad_value: limit = -1: must not be negative");
}
