#include <fovea/core/autograd.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

TEST_CASE("dropout: outside training and for p = 0 it is x itself, and draws no random numbers") {
  Rng rng(1);
  const RngState before = rng.state();
  const Tensor x = ones({4});
  CHECK(dropout(x, 0.5, rng, false).impl() == x.impl());
  CHECK(dropout(x, 0.0, rng).impl() == x.impl());
  CHECK(rng.state() == before);
}

TEST_CASE("dropout: elements are 0 or x / (1 - p), in about the right proportion") {
  Rng rng(2);
  const auto y = dropout(full({100, 100}, 3), 0.25, rng).to_vector<float>();
  const auto kept = std::count(y.begin(), y.end(), 4.0f);
  CHECK(kept + std::count(y.begin(), y.end(), 0.0f) == 10000);
  CHECK(std::abs(static_cast<double>(kept) - 7500) < 5 * std::sqrt(10000 * 0.25 * 0.75));
}

TEST_CASE("dropout: the gradient has the forward's mask") {
  Rng rng(3);
  Tensor x = ones({37, 11});
  x.set_requires_grad();
  const Tensor y = dropout(x, 0.4, rng);
  y.backward(ones(y.shape()));
  CHECK(max_difference(x.grad(), y) == 0);
}

TEST_CASE("dropout: two calls differ, the same seed repeats, a view gives its dense copy's mask") {
  Rng rng(4), again(4), viewed(4);
  const Tensor x = ones({8, 16});
  const Tensor first = dropout(x, 0.5, rng);
  CHECK(max_difference(first, dropout(x, 0.5, rng)) > 0);
  CHECK(max_difference(first, dropout(x, 0.5, again)) == 0);
  CHECK(max_difference(first, dropout(transpose(ones({16, 8}), 0, 1), 0.5, viewed)) == 0);
}

TEST_CASE("dropout: both dtypes drop the same elements") {
  Rng rng(5), again(5);
  const Tensor single = dropout(ones({1000}), 0.3, rng);
  const Tensor twice = dropout(ones({1000}, DType::f64), 0.3, again);
  CHECK(max_difference(single.to(DType::f64), twice) <= 1e-6);
}

TEST_CASE("dropout: p = 1 gives zeros, whatever the values of x; empty tensors") {
  Rng rng(6);
  const Tensor x = full({3}, std::numeric_limits<double>::infinity());
  CHECK(dropout(x, 1.0, rng).to_vector<float>() == std::vector<float>(3, 0));
  CHECK(dropout(zeros({0, 2}), 0.5, rng).shape() == Shape{0, 2});
}

TEST_CASE("dropout: errors") {
  Rng rng(7);
  const Tensor x = ones({2});
  CHECK(message_of<ValueError>([&] { dropout(x, 1.5, rng); }) ==
        "dropout: p = 1.5: must be in [0, 1]");
  CHECK(message_of<ValueError>([&] { dropout(x, -0.5, rng, false); }) ==
        "dropout: p = -0.5: must be in [0, 1]");
  CHECK(message_of<ValueError>([&] { dropout(x, std::nan(""), rng); }).find("dropout: p = nan") ==
        0);
  CHECK(message_of<DTypeError>([&] { dropout(arange(3), 0.5, rng); }) ==
        "dropout: needs f32 or f64, and got i64");
}

TEST_CASE("relu_dropout: bitwise equal to dropout(relu(x)): values, gradients and random numbers") {
  Rng data(7);
  for (const std::int64_t n : {1, 127, 5000, 70000})
    for (const DType dtype : {DType::f32, DType::f64})
      for (const double p : {0.0, 0.3, 1.0}) {
        Rng rng(8), again(8);
        Tensor a = randn({n}, data).to(dtype), b = a.clone();
        a.set_requires_grad();
        b.set_requires_grad();
        const Tensor y = relu_dropout(a, p, rng), expected = dropout(relu(b), p, again);
        CHECK(max_difference(y, expected) == 0);
        CHECK(rng.state() == again.state());
        const Tensor dy = randn({n}, data).to(dtype);
        y.backward(dy);
        expected.backward(dy);
        CHECK(max_difference(a.grad(), b.grad()) == 0);
      }
  Rng rng(9);
  CHECK(max_difference(relu_dropout(from_data(std::vector<float>{-1, 2}, {2}), 0.5, rng, false),
                       from_data(std::vector<float>{0, 2}, {2})) == 0);
}

TEST_CASE("relu_dropout: a NaN that is not dropped stays NaN") {
  Rng rng(10);
  const auto y = relu_dropout(full({100}, std::numeric_limits<double>::quiet_NaN()), 0.5, rng)
                     .to_vector<float>();
  const auto nans = std::count_if(y.begin(), y.end(), [](float v) { return std::isnan(v); });
  CHECK(nans + std::count(y.begin(), y.end(), 0.0f) == 100);
  CHECK(nans > 20);
  CHECK(nans < 80);
}

TEST_CASE("relu_dropout: errors") {
  Rng rng(11);
  CHECK(message_of<ValueError>([&] { relu_dropout(ones({2}), 1.5, rng); }) ==
        "relu_dropout: p = 1.5: must be in [0, 1]");
}
