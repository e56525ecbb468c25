#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

using Numbers = std::vector<double>;
constexpr double inf = std::numeric_limits<double>::infinity();
const double quiet_nan = std::numeric_limits<double>::quiet_NaN();

Numbers values(const Tensor& x) { return x.to_vector<double>(); }

Tensor f64(const Numbers& values, const Shape& shape) { return from_data(values, shape); }

// 0, 1, 2, ... in f64.
Tensor counting(const Shape& shape) {
  return reshape(arange(0.0, static_cast<double>(shape.numel()), 1.0, DType::f64), shape);
}

// The gradient of sum(w * f(x)) by x, with w = 1, 2, 3, ...
template <class F>
Tensor weighted_gradient(const F& f, Tensor x) {
  x.set_requires_grad();
  const Tensor y = f(x);
  y.backward(counting(y.shape()).to(y.dtype()) + 1.0);
  return x.grad();
}

}  // namespace

TEST_CASE("sum: any axes, with and without keepdim") {
  const Tensor x = counting({2, 3, 2});
  CHECK(sum(x).item<double>() == 66);
  CHECK(sum(x).shape() == Shape{});
  CHECK(sum(x, {}, true).shape() == Shape{1, 1, 1});
  CHECK(values(sum(x, 0)) == Numbers{6, 8, 10, 12, 14, 16});
  CHECK(values(sum(x, 1)) == Numbers{6, 9, 24, 27});
  CHECK(values(sum(x, -1)) == Numbers{1, 5, 9, 13, 17, 21});
  CHECK(values(sum(x, {0, 2})) == Numbers{14, 22, 30});
  CHECK(values(sum(x, {2, 0})) == Numbers{14, 22, 30});
  CHECK(values(sum(x, {0, 1})) == Numbers{30, 36});
  CHECK(sum(x, {0, 2}).shape() == Shape{3});
  CHECK(sum(x, {0, 2}, true).shape() == Shape{1, 3, 1});
}

TEST_CASE("sum: views are read without a copy") {
  const Tensor x = counting({2, 3});
  CHECK(values(sum(transpose(x, 0, 1), 0)) == Numbers{3, 12});
  CHECK(values(sum(expand(reshape(x, {2, 1, 3}), {2, 4, 3}), 1)) == Numbers{0, 4, 8, 12, 16, 20});
}

TEST_CASE("sum: integers stay integers and bool counts") {
  const Tensor n = sum(arange(5));
  CHECK(n.dtype() == DType::i64);
  CHECK(n.item<int64_t>() == 10);
  const Tensor kept = sum(from_data(std::vector<bool>{true, false, true}, {3}));
  CHECK(kept.dtype() == DType::i64);
  CHECK(kept.item<int64_t>() == 2);
}

TEST_CASE("reductions of empty tensors") {
  CHECK(values(sum(zeros({0, 2}), 0)) == Numbers{0, 0});
  CHECK(std::isnan(mean(zeros({0})).item<double>()));
  CHECK(std::isnan(var(zeros({0})).item<double>()));
  CHECK(logsumexp(zeros({0})).item<double>() == -inf);
  CHECK(sum(zeros({0, 2}), 1).shape() == Shape{0});
  CHECK(max(zeros({0, 2}), 1).shape() == Shape{0});
  CHECK(cumsum(zeros({2, 0}), 1).shape() == Shape{2, 0});
}

TEST_CASE("reductions of a rank-0 tensor return the tensor") {
  const Tensor x = scalar(3.0, DType::f64);
  CHECK(sum(x).item<double>() == 3);
  CHECK(mean(x).item<double>() == 3);
  CHECK(max(x).item<double>() == 3);
  CHECK(logsumexp(x).item<double>() == 3);
  CHECK(argmax(x).item<int64_t>() == 0);
}

TEST_CASE("mean and var") {
  const Tensor x = f64({1, 2, 3, 6, 5, 4}, {2, 3});
  CHECK(values(mean(x, 1)) == Numbers{2, 5});
  CHECK(mean(x, 1, true).shape() == Shape{2, 1});
  CHECK(values(var(x, 1)) == Numbers{1, 1});
  CHECK(values(var(x, 1, 0.0)) == Numbers{2.0 / 3, 2.0 / 3});
  CHECK(var(x, {0, 1}, 1.0, true).shape() == Shape{1, 1});
  CHECK(var(x).item<double>() == doctest::Approx(3.5));
  CHECK(std::isnan(var(f64({1}, {1})).item<double>()));
}

TEST_CASE("max and min: values, infinities, NaN, integers") {
  const Tensor x = f64({3, -inf, 7, 7, inf, 1}, {2, 3});
  CHECK(values(max(x, 1)) == Numbers{7, inf});
  CHECK(values(min(x, 1)) == Numbers{-inf, 1});
  CHECK(values(max(x, 0, true)) == Numbers{7, inf, 7});
  CHECK(max(x).item<double>() == inf);
  CHECK(std::isnan(max(f64({1, quiet_nan, 2}, {3})).item<double>()));
  CHECK(std::isnan(min(f64({1, quiet_nan, 2}, {3})).item<double>()));
  CHECK(max(arange(4)).item<int64_t>() == 3);
}

TEST_CASE("max_with_index and argmax return the first index") {
  const Tensor x = f64({1, 5, 5, 4, 2, 2}, {2, 3});
  const auto [largest, index] = max_with_index(x, -1);
  CHECK(values(largest) == Numbers{5, 4});
  CHECK(values(index) == Numbers{1, 0});
  CHECK(index.dtype() == DType::i64);
  const auto [smallest, low] = min_with_index(x, 1, true);
  CHECK(values(smallest) == Numbers{1, 2});
  CHECK(values(low) == Numbers{0, 1});
  CHECK(low.shape() == Shape{2, 1});
  CHECK(values(argmax(x, 0)) == Numbers{1, 0, 0});
  CHECK(values(argmin(x, 0)) == Numbers{0, 1, 1});
  CHECK(argmax(x, 1, true).shape() == Shape{2, 1});
  CHECK(argmax(x).item<int64_t>() == 1);
  CHECK(argmin(transpose(x, 0, 1)).item<int64_t>() == 0);
}

TEST_CASE("equal maxima share the gradient of max, and max_with_index selects the first") {
  const Tensor x = f64({5, 1, 5, 2}, {4});
  CHECK(values(weighted_gradient([](const Tensor& t) { return max(t); }, x.clone())) ==
        Numbers{0.5, 0, 0.5, 0});
  CHECK(values(weighted_gradient([](const Tensor& t) { return max_with_index(t, 0).first; },
                                 x.clone())) == Numbers{1, 0, 0, 0});
}

TEST_CASE("logsumexp: large values, infinities, and rows of -inf") {
  const Tensor x = f64({1000, 1000, -inf, -inf, 0, -inf, inf, 3}, {4, 2});
  const Numbers y = values(logsumexp(x, 1));
  CHECK(y[0] == doctest::Approx(1000 + std::log(2.0)));
  CHECK(y[1] == -inf);
  CHECK(y[2] == 0);
  CHECK(y[3] == inf);
  const Tensor dx =
      weighted_gradient([](const Tensor& t) { return logsumexp(t, 1); }, slice(x, 0, 0, 3).clone());
  CHECK(max_difference(dx, f64({0.5, 0.5, 0, 0, 3, 0}, {3, 2})) <= 1e-12);
}

TEST_CASE("logsumexp: the gradient of a large row sums to 1 though its value was rounded") {
  for (const float size : {1e4F, 1e8F, -1e8F, 3e38F}) {
    CAPTURE(size);
    const Tensor dx =
        weighted_gradient([](const Tensor& t) { return logsumexp(t, 1); }, full({1, 4}, size));
    CHECK(max_difference(dx, full({1, 4}, 0.25)) <= 1e-6);
  }
}

TEST_CASE("sums of i64 wrap") {
  constexpr int64_t least = std::numeric_limits<int64_t>::min(),
                    most = std::numeric_limits<int64_t>::max();
  const Tensor x = from_data(std::vector<int64_t>{most, 1, 1, least, least, 0}, {3, 2});
  using Integers = std::vector<int64_t>;
  CHECK(sum(x).item<int64_t>() == least + 1);
  CHECK(sum(x, 0).to_vector<int64_t>() == Integers{0, least + 1});
  CHECK(sum(x, 1).to_vector<int64_t>() == Integers{least, least + 1, least});
  CHECK(cumsum(x, 0).to_vector<int64_t>() == Integers{most, 1, least, least + 1, 0, least + 1});
}

TEST_CASE("cumsum along any axis") {
  const Tensor x = f64({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(values(cumsum(x, 1)) == Numbers{1, 3, 6, 4, 9, 15});
  CHECK(values(cumsum(x, -2)) == Numbers{1, 2, 3, 5, 7, 9});
  CHECK(values(cumsum(arange(4), 0)) == Numbers{0, 1, 3, 6});
  CHECK(values(weighted_gradient([](const Tensor& t) { return cumsum(t, 0); },
                                 f64({1, 1, 1}, {3}))) == Numbers{6, 5, 3});
}

TEST_CASE("gradients of sum and mean reach every element, in f32 as well") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = ones({2, 3}, dtype);
    CHECK(values(weighted_gradient([](const Tensor& t) { return sum(t, 0); }, x.clone())) ==
          Numbers{1, 2, 3, 1, 2, 3});
    const Tensor dx = weighted_gradient([](const Tensor& t) { return mean(t, 1); }, x.clone());
    CHECK(dx.dtype() == dtype);
    const double third = 1.0 / 3;
    const Tensor want = f64({third, third, third, 2 * third, 2 * third, 2 * third}, {2, 3});
    CHECK(max_difference(dx, want) <= 1e-7);
  }
}

TEST_CASE("sum_to undoes broadcasting") {
  const Tensor dy = counting({2, 3, 2});
  CHECK(sum_to(dy, {2, 3, 2}).impl() == dy.impl());
  CHECK(values(sum_to(dy, {2})) == Numbers{30, 36});
  CHECK(values(sum_to(dy, {3, 1})) == Numbers{14, 22, 30});
  CHECK(sum_to(dy, {3, 1}).shape() == Shape{3, 1});
  CHECK(values(sum_to(dy, {})) == Numbers{66});
  CHECK(sum_to(ones({1, 1, 2}), {2}).shape() == Shape{2});
}

TEST_CASE("reductions: errors name the op, the sizes and the requirement") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<IndexError>([&] { sum(x, 2); }) ==
        "sum: axis 2 of a tensor with 2 axes: must be in [-2, 2)");
  CHECK(message_of<IndexError>([&] {
          mean(x, {1, -1});
        }) == "mean: axes (1, -1): axis -1 is repeated");
  CHECK(message_of<ShapeError>([&] {
          max(zeros({0, 3}), 0);
        }) == "max: (0, 3): the reduced axes must not be empty");
  CHECK(message_of<ShapeError>([&] {
          argmin(zeros({0, 3}), 0);
        }) == "argmin: (0, 3): the reduced axes must not be empty");
  CHECK(message_of<DTypeError>([&] { mean(arange(3)); }) == "mean: needs f32 or f64, and got i64");
  CHECK(message_of<DTypeError>([&] { max(zeros({2}, DType::boolean)); }) ==
        "max: needs f32, f64 or i64, and got bool");
  CHECK(message_of<IndexError>([&] { cumsum(x, -3); }) ==
        "cumsum: axis -3 of a tensor with 2 axes: must be in [-2, 2)");
  CHECK(message_of<ShapeError>([&] {
          sum_to(x, {2, 2});
        }) == "sum_to: (2, 3) to (2, 2): the second must broadcast to the first");
  CHECK(message_of<ShapeError>([&] {
          sum_to(x, {1, 2, 3});
        }) == "sum_to: (2, 3) to (1, 2, 3): the second must broadcast to the first");
}
