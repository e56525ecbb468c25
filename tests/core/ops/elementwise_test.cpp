#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double NaN = std::numeric_limits<double>::quiet_NaN();

using Numbers = std::vector<double>;

Tensor f64(const Numbers& values, const Shape& shape) { return from_data(values, shape); }
Tensor f64(const Numbers& values) {
  return from_data(values, {static_cast<std::int64_t>(values.size())});
}
Tensor i64(const std::vector<std::int64_t>& values) {
  return from_data(values, {static_cast<std::int64_t>(values.size())});
}
Tensor bools(const std::vector<bool>& values) {
  return from_data(values, {static_cast<std::int64_t>(values.size())});
}

Numbers numbers(const Tensor& x) { return x.to_vector<double>(); }

// Equal within rounding; NaN equals NaN.
bool near(const Tensor& x, const Numbers& want, double tolerance = 1e-6) {
  return test::max_difference(x, f64(want, x.shape())) <= tolerance;
}

// d sum(f(x)) / dx
template <class F>
Numbers gradient_of(const F& f, const Numbers& values) {
  Tensor x = f64(values);
  x.set_requires_grad();
  const Tensor y = f(x);
  y.backward(ones(y.shape(), y.dtype()));
  return numbers(x.grad());
}

// A view of `x` with its two axes swapped.
Tensor transposed(const Tensor& x) {
  return alias(x, {x.dim(1), x.dim(0)}, {x.strides()[1], x.strides()[0]});
}

}  // namespace

TEST_CASE("arithmetic of tensors and scalars") {
  const Tensor a = f64({1, 2, 3}), b = f64({4, 5, -6});
  CHECK(numbers(a + b) == Numbers{5, 7, -3});
  CHECK(numbers(a - b) == Numbers{-3, -3, 9});
  CHECK(numbers(a * b) == Numbers{4, 10, -18});
  CHECK(numbers(a / b) == Numbers{0.25, 0.4, -0.5});
  CHECK(numbers(-a) == Numbers{-1, -2, -3});
  CHECK(numbers(a + 1.0) == Numbers{2, 3, 4});
  CHECK(numbers(1.0 + a) == Numbers{2, 3, 4});
  CHECK(numbers(a - 1.0) == Numbers{0, 1, 2});
  CHECK(numbers(1.0 - a) == Numbers{0, -1, -2});
  CHECK(numbers(a * 2.0) == Numbers{2, 4, 6});
  CHECK(numbers(2.0 * a) == Numbers{2, 4, 6});
  CHECK(numbers(a / 2.0) == Numbers{0.5, 1, 1.5});
  CHECK(numbers(6.0 / a) == Numbers{6, 3, 2});
  CHECK(numbers(pow(a, 2)) == Numbers{1, 4, 9});
  CHECK(numbers(pow(a, 3)) == Numbers{1, 8, 27});
  CHECK(near(pow(a, b), {1, 32, std::pow(3.0, -6.0)}));
}

TEST_CASE("i64: + - * and negation wrap") {
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                         most = std::numeric_limits<std::int64_t>::max();
  const Tensor a = i64({most, least, 1}), b = i64({1, -1, 1});
  CHECK((a + b).to_vector<std::int64_t>() == std::vector<std::int64_t>{least, most, 2});
  CHECK((b - a).to_vector<std::int64_t>() == std::vector<std::int64_t>{1 - most, most, 0});
  CHECK((a * i64({2, 2, 2})).to_vector<std::int64_t>() == std::vector<std::int64_t>{-2, 0, 2});
  CHECK((-a).to_vector<std::int64_t>() == std::vector<std::int64_t>{-most, least, -1});
}

TEST_CASE("i64: + - * maximum minimum, and integer scalars only") {
  const Tensor a = i64({1, 2, 3}), b = i64({4, -5, 6});
  CHECK((a + b).dtype() == DType::i64);
  CHECK(numbers(a + b) == Numbers{5, -3, 9});
  CHECK(numbers(a - b) == Numbers{-3, 7, -3});
  CHECK(numbers(a * b) == Numbers{4, -10, 18});
  CHECK(numbers(-a) == Numbers{-1, -2, -3});
  CHECK(numbers(10.0 - a * 2.0) == Numbers{8, 6, 4});
  CHECK(numbers(maximum(a, b)) == Numbers{4, 2, 6});
  CHECK(numbers(minimum(a, b)) == Numbers{1, -5, 3});
  const Tensor big = i64({(std::int64_t{1} << 53) + 1});
  CHECK((big + 1.0).data<std::int64_t>()[0] == (std::int64_t{1} << 53) + 2);
}

TEST_CASE("functions of one tensor in f32 and f64") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    CAPTURE(name_of(dtype));
    const auto at = [&](Numbers x) { return f64(x).to(dtype); };
    CHECK(near(square(at({-3, 2})), {9, 4}));
    CHECK(near(sqrt(at({4, 2})), {2, std::sqrt(2)}));
    CHECK(near(rsqrt(at({4, 2})), {0.5, std::sqrt(0.5)}));
    CHECK(near(exp(at({0, 1, -infinity, infinity})), {1, std::exp(1), 0, infinity}));
    CHECK(near(log(at({1, 2, 0, infinity, -1})), {0, std::log(2), -infinity, infinity, NaN}));
    CHECK(near(erf(at({0.5, -infinity})), {std::erf(0.5), -1}));
    CHECK(near(tanh(at({0.5, -infinity})), {std::tanh(0.5), -1}));
    CHECK(near(sigmoid(at({0, 1, -infinity, infinity})), {0.5, 1 / (1 + std::exp(-1)), 0, 1}));
    CHECK(near(relu(at({-1, 0, 2, -infinity, infinity})), {0, 0, 2, 0, infinity}));
    CHECK(near(leaky_relu(at({-2, 3}), 0.1), {-0.2, 3}));
    CHECK(near(leaky_relu(at({-2})), {-0.02}));
    CHECK(near(gelu(at({1, -2, infinity})), {0.8413447461, -0.0455002639, infinity}));
    CHECK(near(gelu(at({1, -2, infinity}), Gelu::tanh), {0.8411919906, -0.0454023059, infinity}));
    CHECK(near(silu(at({1, -1})), {0.7310585786, -0.2689414214}));
    CHECK(near(softplus(at({0, -40, 40, infinity})), {std::log(2), 0, 40, infinity}));
    CHECK(near(abs(at({-3, 2, -infinity})), {3, 2, infinity}));
    CHECK(near(clamp(at({-3, 0.5, 2}), -1, 1), {-1, 0.5, 1}));
    CHECK(near(clamp(at({-3, 0.5, 2}), -infinity, 1), {-3, 0.5, 1}));
  }
}

TEST_CASE("broadcasting, strided operands, rank 0, size 1 and empty tensors") {
  const Tensor row = f64({1, 2, 3}), column = f64({10, 20}, {2, 1});
  CHECK(numbers(row + column) == Numbers{11, 12, 13, 21, 22, 23});
  CHECK((row + column).shape() == Shape{2, 3});
  const Tensor m = f64({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(numbers(transposed(m) - f64({1, 1}, {1, 2})) == Numbers{0, 3, 1, 4, 2, 5});
  CHECK(numbers(square(transposed(m))) == Numbers{1, 16, 4, 25, 9, 36});
  CHECK(numbers(2.0 * transposed(m)) == Numbers{2, 8, 4, 10, 6, 12});
  CHECK(numbers(scalar(2, DType::f64) * row) == Numbers{2, 4, 6});
  CHECK((scalar(2) * scalar(3)).shape() == Shape{});
  CHECK((scalar(2) * scalar(3)).item() == 6);
  CHECK((zeros({2, 0}) + zeros({1})).shape() == Shape{2, 0});
  CHECK(exp(zeros({0})).numel() == 0);
  CHECK(numbers(where(column > 10.0, row, -row)) == Numbers{-1, -2, -3, 1, 2, 3});
}

TEST_CASE("gradients at kinks, bounds and ties") {
  CHECK(gradient_of([](const Tensor& x) { return relu(x); }, {-1, 0, 1, NaN}) ==
        Numbers{0, 0, 1, 1});
  CHECK(gradient_of([](const Tensor& x) { return leaky_relu(x, 0.25); }, {-1, 0, 1}) ==
        Numbers{0.25, 0.25, 1});
  CHECK(gradient_of([](const Tensor& x) { return abs(x); }, {-1, 0, 1}) == Numbers{-1, 0, 1});
  CHECK(gradient_of([](const Tensor& x) { return clamp(x, -1, 1); }, {-2, -1, 0, 1, 2}) ==
        Numbers{0, 1, 1, 1, 0});
  const Tensor other = f64({1, 2, 3});
  CHECK(gradient_of([&](const Tensor& x) { return maximum(x, other); }, {2, 2, 2}) ==
        Numbers{1, 0.5, 0});
  CHECK(gradient_of([&](const Tensor& x) { return maximum(other, x); }, {2, 2, 2}) ==
        Numbers{1, 0.5, 0});
  CHECK(gradient_of([&](const Tensor& x) { return minimum(x, other); }, {2, 2, 2}) ==
        Numbers{0, 0.5, 1});
  CHECK(gradient_of([](const Tensor& x) { return pow(x, 0); }, {0, 2}) == Numbers{0, 0});
  CHECK(gradient_of([](const Tensor& x) { return pow(x, 1); }, {0, 2}) == Numbers{1, 1});
  CHECK(gradient_of([](const Tensor& p) { return pow(f64({0, 0}), p); }, {0, 2}) == Numbers{0, 0});
}

TEST_CASE("create_graph gives the same gradients at kinks and ties as the kernels") {
  const Numbers at = {-2, -1, 0, 1, 2};
  const Tensor other = f64({-1, -1, 0, 2, 1});
  const std::vector<std::function<Tensor(const Tensor&)>> functions = {
      [](const Tensor& x) { return relu(x); },
      [](const Tensor& x) { return leaky_relu(x, 0.25); },
      [](const Tensor& x) { return abs(x); },
      [](const Tensor& x) { return clamp(x, -1, 1); },
      [&](const Tensor& x) { return maximum(x, other); },
      [&](const Tensor& x) { return minimum(other, x); },
      [](const Tensor& x) { return gelu(x); },
      [](const Tensor& x) { return gelu(x, Gelu::tanh); },
      [](const Tensor& x) { return softplus(x); },
  };
  for (const auto& f : functions) {
    Tensor x = f64(at);
    x.set_requires_grad();
    const Tensor y = f(x), seed = f64({1, 2, 3, 4, 5});
    y.backward(seed, {.create_graph = true});
    const Tensor composed = x.grad().detach().clone();
    x.zero_grad();
    f(x).backward(seed);
    CHECK(test::max_difference(composed, x.grad()) <= 1e-14);
  }
}

// d2 a^b / da db = a^(b - 1) (1 + b log a), which is 1 / a at b = 0.
TEST_CASE("second derivatives of a^b by both at b = 0 and at a = 0") {
  const auto second = [](double base, double exponent) {  // aa, ab, ba, bb
    const Tensor a = f64({base}).set_requires_grad(), b = f64({exponent}).set_requires_grad();
    const Tensor y = pow(a, b);
    Numbers found;
    for (const Tensor& first :
         {grad(y, a, {.create_graph = true}), grad(y, b, {.create_graph = true})})
      for (const Tensor& x : {a, b})
        found.push_back(grad(first, x, {.retain_graph = true}).item<double>());
    return f64(found);
  };
  CHECK(near(second(2, 0), {0, 0.5, 0.5, std::log(2.0) * std::log(2.0)}, 1e-15));
  CHECK(near(second(0, 2), {2, 0, 0, 0}, 0));
  for (const double d : numbers(second(0, 0))) CHECK_FALSE(std::isnan(d));
}

TEST_CASE("gradients of broadcast operands are summed") {
  Tensor a = f64({1, 2, 3}), b = f64({10, 20}, {2, 1});
  a.set_requires_grad();
  b.set_requires_grad();
  (a * b).backward(ones({2, 3}, DType::f64));
  CHECK(numbers(a.grad()) == Numbers{30, 30, 30});
  CHECK(numbers(b.grad()) == Numbers{6, 6});
}

TEST_CASE("x + x accumulates both gradients, and does not modify the seed") {
  Tensor x = f64({1, 2});
  x.set_requires_grad();
  const Tensor seed = f64({3, 4});
  (x + x).backward(seed);
  CHECK(numbers(x.grad()) == Numbers{6, 8});
  CHECK(numbers(seed) == Numbers{3, 4});
}

TEST_CASE("NaN propagates") {
  const Tensor x = f64({NaN, 1}), y = f64({1, NaN});
  for (const Tensor& z : {maximum(x, y), minimum(x, y), x + y, x * y}) CHECK(near(z, {NaN, NaN}));
  CHECK(near(relu(x), {NaN, 1}));
  CHECK(near(clamp(x, 0, 0.5), {NaN, 0.5}));
  CHECK(near(leaky_relu(x), {NaN, 1}));
  CHECK(near(abs(x), {NaN, 1}));
}

TEST_CASE("comparisons and logic") {
  const Tensor a = f64({1, 2, 3, NaN}), b = f64({2, 2, 2, NaN});
  CHECK((a < b).dtype() == DType::boolean);
  CHECK(numbers(a < b) == Numbers{1, 0, 0, 0});
  CHECK(numbers(a <= b) == Numbers{1, 1, 0, 0});
  CHECK(numbers(a > b) == Numbers{0, 0, 1, 0});
  CHECK(numbers(a >= b) == Numbers{0, 1, 1, 0});
  CHECK(numbers(eq(a, b)) == Numbers{0, 1, 0, 0});
  CHECK(numbers(ne(a, b)) == Numbers{1, 0, 1, 1});
  CHECK(numbers(a < 2.0) == Numbers{1, 0, 0, 0});
  CHECK(numbers(a <= 2.0) == Numbers{1, 1, 0, 0});
  CHECK(numbers(a > 2.0) == Numbers{0, 0, 1, 0});
  CHECK(numbers(a >= 2.0) == Numbers{0, 1, 1, 0});
  CHECK(numbers(eq(a, 2.0)) == Numbers{0, 1, 0, 0});
  CHECK(numbers(ne(a, 2.0)) == Numbers{1, 0, 1, 1});
  CHECK(numbers(eq(i64({1, 2}), 2.0)) == Numbers{0, 1});
  const Tensor p = bools({false, false, true, true}), q = bools({false, true, false, true});
  CHECK(numbers(logical_and(p, q)) == Numbers{0, 0, 0, 1});
  CHECK(numbers(logical_or(p, q)) == Numbers{0, 1, 1, 1});
  CHECK(numbers(logical_not(p)) == Numbers{1, 1, 0, 0});
  CHECK(numbers(logical_not(f64({0, 2, NaN}))) == Numbers{1, 0, 0});
  CHECK(numbers(where(p, i64({1, 2, 3, 4}), 0.0)) == Numbers{0, 0, 3, 4});
  CHECK(numbers(where(p, q, p)) == Numbers{0, 0, 0, 1});
  CHECK(numbers(where(p, 5.0, f64({1, 2, 3, 4}))) == Numbers{1, 2, 5, 5});
}

TEST_CASE("an operand modified in place is an error in the backward, if it was saved") {
  Tensor a = f64({1, 2}), b = f64({3, 4});
  a.set_requires_grad();
  const Tensor product = a * b, sum = a + b;
  b.fill(0);
  CHECK_NOTHROW(sum.backward(ones({2}, DType::f64)));
  CHECK(message_of<StateError>([&] {
          product.backward(ones({2}, DType::f64));
        }).find("overwritten") != std::string::npos);
}

TEST_CASE("errors name the op, the argument and the requirement") {
  const Tensor x = zeros({2}), ints = i64({1, 2});
  CHECK(message_of<DTypeError>([&] { mul(x, ints); }) ==
        "mul: a is f32, b is i64: dtypes must be equal, convert with to(dtype)");
  CHECK(message_of<DTypeError>([&] { lt(x, ints); }) ==
        "lt: a is f32, b is i64: dtypes must be equal, convert with to(dtype)");
  CHECK(message_of<DTypeError>([&] { exp(ints); }) == "exp: needs f32 or f64, and got i64");
  CHECK(message_of<DTypeError>([&] { div(ints, ints); }) == "div: needs f32 or f64, and got i64");
  CHECK(message_of<DTypeError>([&] { add(bools({true}), bools({true})); }) ==
        "add: needs f32 or f64, and got bool");
  CHECK(message_of<ValueError>([&] { add(ints, 0.5); }) ==
        "add: scalar = 0.5: must be an integer for an i64 tensor");
  CHECK(message_of<ValueError>([&] { lt(ints, infinity); }) ==
        "lt: scalar = inf: must be an integer for an i64 tensor");
  CHECK(message_of<DTypeError>([&] { where(x, x, x); }) == "where: condition is f32: must be bool");
  CHECK(message_of<DTypeError>([&] { where(x > 0.0, x, ints); }) ==
        "where: a is f32, b is i64: dtypes must be equal, convert with to(dtype)");
  CHECK(message_of<ValueError>([&] { clamp(x, 1, -1); }) ==
        "clamp: low = 1, high = -1: low must not exceed high");
  const std::string shapes = message_of<ShapeError>([&] { add(zeros({2, 3}), zeros({4})); });
  CHECK(shapes.starts_with("add: "));
  CHECK(shapes.find("(2, 3)") != std::string::npos);
  CHECK(shapes.find("(4,)") != std::string::npos);
}
