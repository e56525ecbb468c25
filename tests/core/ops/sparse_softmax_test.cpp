// Sparsemax and entmax-1.5 against bisection, their references in plain ops, and values by hand.
#include <fovea/core/autograd.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/core/ops/straight_through.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();

struct Kind {
  const char* name;
  Tensor (*fast)(const Tensor&);
  Tensor (*slow)(const Tensor&);
  Tensor (*under_keep)(const Tensor&, const Tensor&);
  Tensor (*under_mask)(const Tensor&, const Mask&);
  double scale, power;  // y = max(scale x - tau, 0)^power
};

const Kind kinds[] = {
    {"sparsemax", sparsemax, sparsemax_reference, masked_sparsemax, masked_sparsemax, 1, 1},
    {"entmax15", entmax15, entmax15_reference, masked_entmax15, masked_entmax15, 0.5, 2}};

// The same by bisection for tau, independent of the sorting algorithm.
std::vector<double> by_bisection(const Kind& kind, const double* x, std::int64_t n) {
  double top = x[0];
  for (std::int64_t i = 1; i < n; ++i) top = std::max(top, x[i]);
  const auto y_of = [&](std::int64_t i, double tau) {
    return std::pow(std::max(kind.scale * x[i] - tau, 0.0), kind.power);
  };
  double low = kind.scale * top - 1, high = kind.scale * top;
  for (int step = 0; step < 200; ++step) {
    const double tau = (low + high) / 2;
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += y_of(i, tau);
    (sum >= 1 ? low : high) = tau;
  }
  std::vector<double> y;
  for (std::int64_t i = 0; i < n; ++i) y.push_back(y_of(i, low));
  return y;
}

Tensor gradient_of(const std::function<Tensor(const Tensor&)>& f, const Tensor& x,
                   const Tensor& dy) {
  Tensor leaf = x.detach().clone();
  leaf.set_requires_grad();
  f(leaf).backward(dy);
  return leaf.grad();
}

// A fully masked query is between two others.
Tensor some_keep() {
  return from_data(std::vector<bool>{true, false, true, false, false, false, true, true, true},
                   {3, 3});
}

}  // namespace

TEST_CASE("sparse softmax: values by hand") {
  CHECK(max_difference(sparsemax(tensor({{0.5f, 0}, {2, 0}, {-1, -1}})),
                       tensor({{0.75f, 0.25f}, {1, 0}, {0.5f, 0.5f}})) <= 1e-7);
  CHECK(max_difference(entmax15(tensor({{1, 0}, {2, 0}, {-1, -1}})),
                       tensor({{0.8307189f, 0.1692811f}, {1, 0}, {0.5f, 0.5f}})) <= 1e-6);
}

TEST_CASE(
    "sparse softmax: values equal those found by bisection; rows sum to 1, many elements are "
    "exactly 0") {
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    for (const std::int64_t n : {1, 2, 3, 17, 200})
      for (const double spread : {0.01, 1.0, 5.0, 100.0}) {
        CAPTURE(n);
        CAPTURE(spread);
        Rng rng(static_cast<std::uint64_t>(n));
        const Tensor x = spread * randn({6, n}, rng, DType::f64), y = kind.fast(x);
        for (std::int64_t row = 0; row < 6; ++row) {
          const auto want = by_bisection(kind, x.data<double>() + row * n, n);
          CHECK(max_difference(select(y, 0, row), from_data(want, {n})) <= 1e-12);
        }
        CHECK(max_difference(sum(y, -1), ones({6}, DType::f64)) <= 1e-13);
        if (n == 200 && spread == 5.0) CHECK(sum(eq(y, 0.0)).item<int>() > 6 * 150);
      }
  }
}

TEST_CASE("sparse softmax: values and gradients equal the reference") {
  for (const Kind& kind : kinds)
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(kind.name);
      const double bound = dtype == DType::f32 ? 4e-6 : 1e-13;
      for (const Shape& shape : {Shape{5}, Shape{4, 1}, Shape{3, 7}, Shape{2, 3, 33}}) {
        CAPTURE(shape.str());
        Rng rng(1);
        const Tensor x = 1.5 * randn(shape, rng, dtype), dy = randn(shape, rng, dtype);
        CHECK(max_difference(kind.fast(x), kind.slow(x)) <= bound);
        CHECK(max_difference(gradient_of(kind.fast, x, dy), gradient_of(kind.slow, x, dy)) <=
              10 * bound);
      }
    }
}

TEST_CASE("sparse softmax: ties, constants, views, sizes 1 and 0") {
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    CHECK(max_difference(kind.fast(full({2, 4}, 3)), full({2, 4}, 0.25)) <= 1e-7);
    Rng rng(3);
    const Tensor x = randn({5, 3}, rng, DType::f64);
    CHECK(max_difference(kind.fast(x + 1000.0), kind.fast(x)) <= 1e-12);
    CHECK(max_difference(kind.fast(transpose(x, 0, 1)), kind.fast(transpose(x, 0, 1).clone())) ==
          0);
    CHECK(kind.fast(full({3, 1}, -7)).to_vector<float>() == std::vector<float>{1, 1, 1});
    CHECK(kind.fast(zeros({0, 4})).shape() == Shape{0, 4});
    CHECK(kind.fast(zeros({4, 0})).shape() == Shape{4, 0});
    CHECK(kind.fast(tensor({-inf, 0, 0})).to_vector<float>() == std::vector<float>{0, 0.5f, 0.5f});
    for (const float bad : {-inf, inf, std::nanf("")})
      for (const float value : kind.fast(tensor({bad, -inf})).to_vector<float>())
        CHECK(std::isnan(value));
  }
}

TEST_CASE(
    "sparse softmax: under a mask: only attended entries count; masked ones have no effect, "
    "NaN neither") {
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Rng rng(5);
    const Tensor x = randn({2, 3, 3}, rng, DType::f64), dy = randn({2, 3, 3}, rng, DType::f64);
    const auto masked = [&](const Tensor& in) { return kind.under_keep(in, some_keep()); };
    const Tensor dropped = logical_not(broadcast_to(some_keep(), {2, 3, 3}));
    const Tensor poisoned = masked_fill(x, dropped, std::nan(""));
    const Tensor y = masked(poisoned);
    const Tensor dx = gradient_of(masked, poisoned, masked_fill(dy, dropped, std::nan("")));
    for (const Tensor& all : {y, dx}) {
      CHECK(max_difference(select(all, 1, 1), zeros({2, 3}, DType::f64)) == 0);  // fully masked
      CHECK(max_difference(masked_fill(all, dropped, 0), all) == 0);
    }
    const auto ends = [](const Tensor& in) {  // in row 0 the first and last are kept
      return stack({select(select(in, 1, 0), 1, 0), select(select(in, 1, 0), 1, 2)}, 1);
    };
    CHECK(max_difference(ends(y), kind.fast(ends(x))) <= 1e-15);
    CHECK(max_difference(ends(dx), gradient_of(kind.fast, ends(x), ends(dy))) <= 1e-15);
    CHECK(max_difference(select(y, 1, 2), kind.fast(select(x, 1, 2))) <= 1e-15);
  }
}

TEST_CASE("sparse softmax: a Mask, for scores with and without batch and heads") {
  for (const Kind& kind : kinds) {
    Rng rng(6);
    for (const Shape& shape : {Shape{3, 3}, Shape{2, 3, 3}, Shape{2, 4, 3, 3}}) {
      CAPTURE(shape.str());
      const Tensor x = randn(shape, rng);
      CHECK(max_difference(kind.under_mask(x, Mask::keep(some_keep())),
                           kind.under_keep(x, some_keep())) == 0);
      CHECK(max_difference(kind.under_mask(x, Mask::none()), kind.fast(x)) == 0);
    }
    const Tensor y = kind.under_mask(full({2, 1, 3}, -inf), Mask::lengths({2, 0}));
    CHECK(max_difference(y, zeros({2, 1, 3})) == 0);
  }
}

TEST_CASE("sparse softmax: bitwise equal for any number of threads") {
  const int before = num_threads();
  Rng rng(8);
  const Tensor x = randn({500, 129}, rng), dy = randn({500, 129}, rng);
  for (const Kind& kind : kinds) {
    set_num_threads(1);
    const Tensor y = kind.fast(x), dx = gradient_of(kind.fast, x, dy);
    for (const int threads : {2, 3, 8}) {
      set_num_threads(threads);
      CHECK(max_difference(kind.fast(x), y) == 0);
      CHECK(max_difference(gradient_of(kind.fast, x, dy), dx) == 0);
    }
  }
  set_num_threads(before);
}

TEST_CASE("straight_through: the values of one, the gradient of the other") {
  Rng rng(9);
  const Tensor x = randn({2, 3}, rng, DType::f64), dy = randn({2, 3}, rng, DType::f64);
  const auto one_hot_rows = [](const Tensor& soft) {
    return one_hot(argmax(soft, -1), 3, DType::f64);
  };
  const auto hard = [&](const Tensor& in) {
    const Tensor soft = entmax15(in);
    return straight_through(one_hot_rows(soft), soft);
  };
  CHECK(max_difference(hard(x), one_hot_rows(x)) == 0);
  CHECK(max_difference(gradient_of(hard, x, dy), gradient_of(entmax15, x, dy)) == 0);
  // It is not the derivative of its value, as a difference quotient confirms.
  const auto f = [&](const std::vector<Tensor>& in) { return hard(in[0]); };
  CHECK_FALSE(gradcheck(f, {x}).ok);
}

TEST_CASE("sparse softmax: errors") {
  CHECK(message_of<ShapeError>([] { sparsemax(scalar(1)); }) ==
        "sparsemax: x (): must have at least one axis");
  CHECK(message_of<DTypeError>([] { entmax15(arange(3)); }) ==
        "entmax15: needs f32 or f64, and got i64");
  CHECK(message_of<ShapeError>([] { masked_sparsemax(zeros({3}), Mask::none()); }) ==
        "masked_sparsemax: x (3,): must be (T, S), (B, T, S) or (B, H, T, S)");
  CHECK(message_of<DTypeError>([] { masked_entmax15(zeros({2}), ones({2})); }) ==
        "masked_entmax15: keep is f32: must be bool");
  CHECK(message_of<ShapeError>([] {
          masked_entmax15(zeros({1, 2}), zeros({3, 2}, DType::boolean));
        }) == "masked_entmax15: x (1, 2) and keep (3, 2): keep must broadcast to x's shape");
  CHECK(message_of<ShapeError>([] { straight_through(zeros({2}), zeros({3})); }) ==
        "straight_through: hard (2,), soft (3,): shapes must be equal");
  CHECK(message_of<DTypeError>([] { straight_through(zeros({2}), zeros({2}, DType::f64)); }) ==
        "straight_through: hard f32, soft f64: dtypes must be equal");
}
