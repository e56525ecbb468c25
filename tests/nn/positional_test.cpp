#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/positional.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

TEST_CASE("sinusoidal positions: by hand, and an odd width") {
  const Tensor p =
      sinusoidal_positions(from_data(std::vector<std::int64_t>{0, 3}, {2}), 4, DType::f64, 100);
  const std::vector<double> expected{
      0, 1, 0, 1, std::sin(3.0), std::cos(3.0), std::sin(0.3), std::cos(0.3)};
  CHECK(max_difference(p, from_data(expected, {2, 4})) <= 1e-15);
  const Tensor again = from_data(std::vector<std::int64_t>{3, 0, 1, 0, 1, 3}, {2, 3});
  const Tensor packed = sinusoidal_positions(again, 4, DType::f64, 100);
  for (std::int64_t i = 0; i < 6; ++i) {
    const Tensor place = slice(reshape(again, {6}), 0, i, i + 1);
    CHECK(max_difference(slice(reshape(packed, {6, 4}), 0, i, i + 1),
                         sinusoidal_positions(place, 4, DType::f64, 100)) == 0);
  }
  const Tensor odd = sinusoidal_positions(arange(5), 3);
  CHECK(odd.shape() == Shape{5, 3});
  CHECK(odd.dtype() == DType::f32);
  CHECK(odd.data<float>()[3 * 3 + 2] ==
        doctest::Approx(std::sin(3 * std::pow(10000.0, -2.0 / 3))).epsilon(1e-6));
}

TEST_CASE("a shift is the same rotation at every position") {
  // p(m + 1) is p(m), rotated pair by pair: products of two positions depend on their distance.
  const Tensor p = sinusoidal_positions(arange(40), 16, DType::f64);
  const auto product = [&](std::int64_t m, std::int64_t n) {
    double total = 0;
    for (std::int64_t c = 0; c < 16; ++c)
      total += p.data<double>()[m * 16 + c] * p.data<double>()[n * 16 + c];
    return total;
  };
  CHECK(product(3, 8) == doctest::Approx(product(31, 36)).epsilon(1e-12));
  CHECK(product(5, 5) == doctest::Approx(8));
}

TEST_CASE("PositionalEncoding adds the positions of its kind") {
  Rng rng(1);
  const Tensor x = randn({2, 3, 6}, rng);
  const Tensor rows = from_data(std::vector<std::int64_t>{0, 1, 2, 5, 6, 7}, {2, 3});
  PositionalEncoding none({.dim = 6, .kind = Positions::none}, rng);
  PositionalEncoding fixed({.dim = 6}, rng);
  PositionalEncoding learned({.dim = 6, .kind = Positions::learned, .max_len = 8}, rng);
  CHECK(none.parameters().empty());
  CHECK(fixed.parameters().empty());
  CHECK(max_difference(none(x, rows), x) == 0);
  const Tensor added = fixed(zeros({2, 3, 6}), rows);
  CHECK(max_difference(select(added, 0, 1), slice(sinusoidal_positions(arange(8), 6), 0, 5, 8)) ==
        0);
  CHECK(max_difference(fixed(x), fixed(x, arange(3))) == 0);

  CHECK(learned.parameters().size() == 1);
  CHECK(learned.weight.shape() == Shape{8, 6});
  const Tensor seen = learned(zeros({2, 3, 6}), rows);
  CHECK(max_difference(select(seen, 0, 1), slice(learned.weight, 0, 5, 8)) == 0);
  sum(learned(x, rows)).backward();
  const Tensor expected = tensor({1, 1, 1, 0, 0, 1, 1, 1});
  CHECK(max_difference(select(learned.weight.grad(), 1, 0), expected) == 0);
}

TEST_CASE("PositionalEncoding: invalid arguments are errors") {
  Rng rng(1);
  PositionalEncoding learned({.dim = 4, .kind = Positions::learned, .max_len = 2}, rng);
  learned.name_tree("positions");
  CHECK_THROWS_AS(learned(zeros({1, 3, 4})), IndexError);
  CHECK(message_of<ShapeError>([&] {
          learned(zeros({1, 2, 5}));
        }) == "PositionalEncoding: x (1, 2, 5): must be (B, T, dim = 4), in positions");
  CHECK(message_of<ShapeError>([&] {
          learned(zeros({1, 2, 4}), arange(3));
        }) ==
        "PositionalEncoding: x (1, 2, 4) and positions (3,): must be (B, T, C) and (T) or "
        "(B, T), in positions");
  CHECK(message_of<DTypeError>([] { sinusoidal_positions(zeros({2}), 4); }) ==
        "sinusoidal_positions: positions of dtype f32: must be i64");
  CHECK_THROWS_AS(sinusoidal_positions(arange(2), 0), ValueError);
}
