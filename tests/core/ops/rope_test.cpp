#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rope.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

Tensor places(const std::vector<std::int64_t>& values, const Shape& shape) {
  return from_data(values, shape);
}

std::vector<RopeOptions> all_options() {
  std::vector<RopeOptions> all;
  for (const RopePairing pairing : {RopePairing::interleaved, RopePairing::halves})
    for (const std::int64_t dims : {0, 2, 4}) all.push_back({.pairing = pairing, .dims = dims});
  all.push_back({.base = 50, .pairing = RopePairing::halves});
  return all;
}

}  // namespace

TEST_CASE("rope: by hand") {
  const Tensor x = reshape(tensor({1, 2, 3, 4}), {1, 1, 1, 4});
  // D = 4, base 100: the angles of position 3 are 3 and 3 / 10.
  const double c0 = std::cos(3.0), s0 = std::sin(3.0), c1 = std::cos(0.3), s1 = std::sin(0.3);
  const Tensor at = places({3}, {1});
  const Tensor pairs = rope(x, at, {.base = 100});
  const std::vector<double> next_to_each_other{c0 - 2 * s0, s0 + 2 * c0, 3 * c1 - 4 * s1,
                                               3 * s1 + 4 * c1};
  CHECK(max_difference(pairs, from_data(next_to_each_other, {1, 1, 1, 4})) <= 1e-6);
  const Tensor halves = rope(x, at, {.base = 100, .pairing = RopePairing::halves});
  const std::vector<double> first_and_third{c0 - 3 * s0, 2 * c1 - 4 * s1, s0 + 3 * c0,
                                            2 * s1 + 4 * c1};
  CHECK(max_difference(halves, from_data(first_and_third, {1, 1, 1, 4})) <= 1e-6);
  CHECK(max_difference(rope(x, places({0}, {1})), x) == 0);
}

TEST_CASE("rope: values and gradients equal the reference, for every option and layout") {
  Rng rng(1);
  const Tensor rows = places({0, 1, 2, 3, 4, 9, 5, 511, 2, 2}, {2, 5});
  for (const DType dtype : {DType::f32, DType::f64})
    for (const RopeOptions& options : all_options())
      for (const Tensor& positions : {arange(5), rows})
        for (const bool heads_inside : {false, true}) {
          CAPTURE(options.dims);
          CAPTURE(heads_inside);
          Tensor leaf = randn(heads_inside ? Shape{2, 5, 3, 6} : Shape{2, 3, 5, 6}, rng, dtype);
          leaf.set_requires_grad();
          const Tensor x = heads_inside ? transpose(leaf, 1, 2) : leaf;
          const Tensor found = rope(x, positions, options);
          const Tensor expected = rope_reference(x, positions, options);
          const double bound = dtype == DType::f32 ? 1e-6 : 1e-14;
          CHECK(max_difference(found, expected) <= bound);
          const Tensor seed[] = {randn(found.shape(), rng, dtype)};
          const auto gradient = [&](const Tensor& y) {
            return grad({&y, 1}, {&leaf, 1}, seed, {.retain_graph = true})[0];
          };
          CHECK(max_difference(gradient(found), gradient(expected)) <= 2 * bound);
          if (heads_inside) CHECK(transpose(found, 1, 2).is_contiguous());
        }
}

TEST_CASE("rope: scores depend on the distance only") {
  Rng rng(2);
  const Tensor q = randn({1, 1, 1, 8}, rng, DType::f64), k = randn({1, 1, 1, 8}, rng, DType::f64);
  const auto score = [&](std::int64_t m, std::int64_t n, const RopeOptions& options) {
    const Tensor a = rope(q, places({m}, {1}), options), b = rope(k, places({n}, {1}), options);
    return sum(a * b).item<double>();
  };
  for (const RopeOptions& options : all_options()) {
    CHECK(score(7, 3, options) == doctest::Approx(score(1004, 1000, options)).epsilon(1e-12));
    CHECK(std::abs(score(7, 3, options) - score(3, 7, options)) > 1e-3);
  }
}

TEST_CASE("rope: angles of large positions are accurate in f32") {
  const std::int64_t far = 30'000'001;  // not exact in f32
  const Tensor x = reshape(tensor({1, 0}), {1, 1, 1, 2});
  const Tensor y = rope(x, places({far}, {1}));
  CHECK(y.data<float>()[0] == doctest::Approx(std::cos(static_cast<double>(far))).epsilon(1e-6));
  CHECK(y.data<float>()[1] == doctest::Approx(std::sin(static_cast<double>(far))).epsilon(1e-6));
}

TEST_CASE("rope: views with gaps, empty tensors, any number of threads") {
  Rng rng(3);
  const Tensor wide = randn({2, 3, 5, 16}, rng);
  const Tensor part = slice(wide, 3, 4, 12), steps = slice(wide, 3, 0, 16, 2);
  CHECK(max_difference(rope(part, arange(5)), rope(part.clone(), arange(5))) == 0);
  CHECK(max_difference(rope(steps, arange(5)), rope(steps.clone(), arange(5))) == 0);
  CHECK(rope(zeros({2, 3, 0, 4}), arange(0)).shape() == Shape{2, 3, 0, 4});
  CHECK(rope(zeros({0, 3, 2, 4}), arange(2)).shape() == Shape{0, 3, 2, 4});
  CHECK(rope(zeros({1, 1, 2, 0}), arange(2)).shape() == Shape{1, 1, 2, 0});

  const Tensor x = randn({3, 4, 700, 64}, rng), positions = arange(700);
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = rope(x, positions);
  set_num_threads(3);
  CHECK(max_difference(rope(x, positions), one) == 0);
  set_num_threads(before);
}

TEST_CASE("rope: errors") {
  const Tensor x = zeros({2, 3, 4, 6});
  CHECK(message_of<ShapeError>([] {
          rope(zeros({2, 3, 4}), arange(4));
        }) == "rope: x (2, 3, 4): must be (B, H, T, D)");
  CHECK(message_of<ShapeError>([&] { rope(x, arange(3)); }) ==
        "rope: x (2, 3, 4, 6) and positions (3,): must be (B, H, T, D) and (T) or (B, T)");
  CHECK_THROWS_AS(rope(x, places({1, 2, 3, 4}, {1, 4})), ShapeError);
  CHECK(message_of<DTypeError>([&] { rope(x, zeros({4})); }) ==
        "rope: positions are f32: must be i64");
  CHECK(message_of<DTypeError>([&] { rope(x.to(DType::i64), arange(4)); }) ==
        "rope: needs f32 or f64, and got i64");
  for (const std::int64_t dims : {-2, 3, 8})
    CHECK(message_of<ValueError>([&] { rope(x, arange(4), {.dims = dims}); }) ==
          fmt::format("rope: dims = {} with head width 6: must be even and at most the head width",
                      dims));
  CHECK_THROWS_AS(rope(zeros({1, 1, 4, 5}), arange(4)), ValueError);
  for (const double base : {0.0, -1.0, std::nan("")})
    CHECK_THROWS_AS(rope(x, arange(4), {.base = base}), ValueError);
}
