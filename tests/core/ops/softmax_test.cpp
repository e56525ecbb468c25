#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();

// With a random cotangent, so that the gradients of a row do not cancel.
Tensor gradient_of(const TensorFunction& f, const Tensor& x, std::uint64_t seed) {
  Tensor leaf = x.detach().clone();
  leaf.set_requires_grad();
  const Tensor y = f({leaf});
  Rng rng(seed);
  y.backward(randn(y.shape(), rng, y.dtype()));
  return leaf.grad();
}

// A fully masked query is between two others.
Tensor some_keep() {
  return from_data(std::vector<bool>{true, false, true, false, false, false, true, true, true},
                   {3, 3});
}

}  // namespace

TEST_CASE("softmax: values by hand") {
  const Tensor y = softmax(tensor({{0, 0}, {0, std::log(3.0f)}}));
  CHECK(max_difference(y, tensor({{0.5f, 0.5f}, {0.25f, 0.75f}})) <= 1e-7);
  CHECK(max_difference(log_softmax(tensor({0, 0, 0, 0})), full({4}, -std::log(4.0), DType::f32)) <=
        1e-7);
}

TEST_CASE("softmax, log_softmax: values and gradients equal the reference, along every axis") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Rng rng(1);
    const Tensor x = 3.0 * randn({3, 5, 7}, rng, dtype);
    const double bound = dtype == DType::f32 ? 2e-6 : 1e-14;
    for (const int axis : {0, 1, 2, -1, -3}) {
      CAPTURE(axis);
      const auto fast = [&](const std::vector<Tensor>& v) { return softmax(v[0], axis); };
      const auto slow = [&](const std::vector<Tensor>& v) { return softmax_reference(v[0], axis); };
      const auto fast_log = [&](const std::vector<Tensor>& v) { return log_softmax(v[0], axis); };
      const auto slow_log = [&](const std::vector<Tensor>& v) {
        return log_softmax_reference(v[0], axis);
      };
      CHECK(max_difference(fast({x}), slow({x})) <= bound);
      CHECK(max_difference(fast_log({x}), slow_log({x})) <= 5 * bound);
      CHECK(max_difference(gradient_of(fast, x, 2), gradient_of(slow, x, 2)) <= bound);
      CHECK(max_difference(gradient_of(fast_log, x, 2), gradient_of(slow_log, x, 2)) <= 5 * bound);
    }
  }
}

TEST_CASE("softmax: rows sum to 1 and do not change when a constant is added") {
  Rng rng(3);
  const Tensor x = randn({4, 33}, rng, DType::f64);
  CHECK(max_difference(sum(softmax(x), {-1}), ones({4}, DType::f64)) <= 1e-14);
  CHECK(max_difference(softmax(x + 1000.0), softmax(x)) <= 1e-12);
}

TEST_CASE("softmax: works on views") {
  Rng rng(4);
  const Tensor x = randn({5, 3}, rng);
  CHECK(max_difference(softmax(transpose(x, 0, 1)), transpose(softmax(x, 0), 0, 1)) == 0);
}

TEST_CASE("softmax: sizes 1 and 0, infinities, NaN") {
  CHECK(softmax(full({3, 1}, -7)).to_vector<float>() == std::vector<float>{1, 1, 1});
  CHECK(softmax(zeros({0, 4})).shape() == Shape{0, 4});
  CHECK(softmax(zeros({4, 0})).shape() == Shape{4, 0});
  CHECK(softmax(tensor({-inf, 0, 0})).to_vector<float>() == std::vector<float>{0, 0.5f, 0.5f});
  CHECK(log_softmax(tensor({-inf, 0})).to_vector<float>() == std::vector<float>{-inf, 0});
  for (const float value : softmax(tensor({-inf, -inf})).to_vector<float>())
    CHECK(std::isnan(value));
}

TEST_CASE("masked_softmax: equals softmax over the kept elements; an empty row is zero, not NaN") {
  const Tensor x = tensor({{1, 9, 1}, {1, 2, 3}, {0, 0, 0}});
  const float third = 1.0f / 3;
  const Tensor want = tensor({{0.5f, 0, 0.5f}, {0, 0, 0}, {third, third, third}});
  CHECK(max_difference(masked_softmax(x, some_keep()), want) <= 1e-7);
  CHECK(max_difference(masked_softmax(x, Mask::none()), softmax(x)) == 0);
}

TEST_CASE("masked_softmax: values and gradients equal the reference, along every axis") {
  Rng rng(5);
  const Tensor x = randn({2, 3, 3}, rng, DType::f64);
  for (const int axis : {0, 1, -1}) {
    CAPTURE(axis);
    const auto fast = [&](const std::vector<Tensor>& v) {
      return masked_softmax(v[0], some_keep(), axis);
    };
    const auto slow = [&](const std::vector<Tensor>& v) {
      return masked_softmax_reference(v[0], some_keep(), axis);
    };
    CHECK(max_difference(fast({x}), slow({x})) <= 1e-15);
    CHECK(max_difference(gradient_of(fast, x, 6), gradient_of(slow, x, 6)) <= 1e-15);
  }
}

TEST_CASE("masked_softmax: a Mask is the same for every batch row and head") {
  Rng rng(6);
  for (const Shape& shape : {Shape{3, 3}, Shape{2, 3, 3}, Shape{2, 4, 3, 3}}) {
    CAPTURE(shape.str());
    const Tensor x = randn(shape, rng);
    CHECK(max_difference(masked_softmax(x, Mask::keep(some_keep())),
                         masked_softmax(x, some_keep())) == 0);
  }
}

TEST_CASE("masked_softmax: lengths; length 0 gives zeros and no gradient") {
  Rng rng(7);
  Tensor x = randn({2, 2, 1, 3}, rng);
  x.set_requires_grad();
  const Tensor y = masked_softmax(x, Mask::lengths({2, 0}));
  for (int head = 0; head < 2; ++head) {
    CHECK(y.data<float>()[3 * head] + y.data<float>()[3 * head + 1] == doctest::Approx(1));
    CHECK(y.data<float>()[3 * head + 2] == 0);
  }
  y.backward(randn(y.shape(), rng));
  for (int i = 6; i < 12; ++i) {
    CHECK(y.data<float>()[i] == 0);
    CHECK(x.grad().data<float>()[i] == 0);
  }
}

TEST_CASE("softmax: errors") {
  CHECK(message_of<IndexError>([] { softmax(zeros({2, 3}), 2); }).find("softmax") == 0);
  CHECK(message_of<IndexError>([] { log_softmax(zeros({2, 3}), -3); }).find("log_softmax") == 0);
  CHECK(message_of<DTypeError>([] { softmax(arange(3)); }) ==
        "softmax: needs f32 or f64, and got i64");
  CHECK(message_of<ShapeError>([] { masked_softmax(zeros({3}), Mask::none()); }) ==
        "masked_softmax: x (3,): must be (T, S), (B, T, S) or (B, H, T, S)");
  CHECK(message_of<DTypeError>([] { masked_softmax(zeros({2}), ones({2})); }) ==
        "masked_softmax: keep is f32: must be bool");
  CHECK(message_of<ShapeError>([] {
          masked_softmax(zeros({1, 2}), zeros({3, 2}, DType::boolean));
        }) == "masked_softmax: x (1, 2) and keep (3, 2): keep must broadcast to x's shape");
  CHECK(message_of<ShapeError>([] {
          masked_softmax(zeros({2}), zeros({3}, DType::boolean));
        }).find("masked_softmax: ") == 0);
}
