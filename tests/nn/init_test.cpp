// The distributions of initial parameters: moments and bounds.
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/nn/init.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

struct Moments {
  double mean = 0, deviation = 0, low = 0, high = 0;
};

Moments moments_of(const Tensor& w) {
  const std::vector<double> values = w.to_vector<double>();
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) m.mean += v / n;
  for (const double v : values) m.deviation += (v - m.mean) * (v - m.mean) / n;
  m.deviation = std::sqrt(m.deviation);
  m.low = *std::min_element(values.begin(), values.end());
  m.high = *std::max_element(values.begin(), values.end());
  return m;
}

// fan_in 200, fan_out 300: 60,000 values: the mean has a standard error of 1/245 of the deviation.
template <class Init>
Moments drawn(Init init) {
  Rng rng(5);
  Tensor w = empty({300, 200});
  init(w, rng);
  return moments_of(w);
}

void check_uniform(const Moments& m, double bound) {
  CHECK(std::abs(m.mean) <= 0.02 * bound);
  CHECK(m.deviation == doctest::Approx(bound / std::sqrt(3.0)).epsilon(0.01));
  CHECK(m.low >= -bound);
  CHECK(m.low <= -0.999 * bound);
  CHECK(m.high <= bound);
  CHECK(m.high >= 0.999 * bound);
}

void check_normal(const Moments& m, double deviation) {
  CHECK(std::abs(m.mean) <= 0.02 * deviation);
  CHECK(m.deviation == doctest::Approx(deviation).epsilon(0.01));
  CHECK(m.high >= 3.5 * deviation);
}

}  // namespace

TEST_CASE("Xavier: sqrt(6 / (in + out)), and the standard deviation of the normal variant") {
  using namespace nn::init;
  check_uniform(drawn([](Tensor& w, Rng& rng) { xavier_uniform(w, rng); }), std::sqrt(6.0 / 500));
  check_uniform(drawn([](Tensor& w, Rng& rng) { xavier_uniform(w, rng, 3); }),
                3 * std::sqrt(6.0 / 500));
  check_normal(drawn([](Tensor& w, Rng& rng) { xavier_normal(w, rng); }), std::sqrt(2.0 / 500));
}

TEST_CASE("Kaiming: sqrt(6 / in) for ReLU") {
  using namespace nn::init;
  check_uniform(drawn([](Tensor& w, Rng& rng) { kaiming_uniform(w, rng); }), std::sqrt(6.0 / 200));
  check_normal(drawn([](Tensor& w, Rng& rng) { kaiming_normal(w, rng); }), std::sqrt(2.0 / 200));
}

TEST_CASE("plain uniform and normal") {
  const Moments u = drawn([](Tensor& w, Rng& rng) { nn::init::uniform(w, 2, 4, rng); });
  CHECK(u.mean == doctest::Approx(3).epsilon(0.01));
  CHECK(u.low >= 2);
  CHECK(u.high <= 4);
  const Moments n = drawn([](Tensor& w, Rng& rng) { nn::init::normal(w, 5, 0.5, rng); });
  CHECK(n.mean == doctest::Approx(5).epsilon(0.01));
  CHECK(n.deviation == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE("further axes count in both fans, as for a convolution") {
  Rng rng(1);
  Tensor w = empty({30, 20, 10});  // fan_in 200, fan_out 300
  nn::init::xavier_uniform(w, rng);
  check_uniform(moments_of(w), std::sqrt(6.0 / 500));
}

TEST_CASE("orthogonal: rows or columns, whichever are fewer, are orthonormal") {
  Rng rng(1);
  for (const Shape& shape : {Shape{5, 5}, Shape{3, 8}, Shape{8, 3}, Shape{1, 4}, Shape{64, 64}})
    for (const double gain : {1.0, 2.0}) {
      CAPTURE(shape.str());
      Tensor w = empty(shape, DType::f64);
      nn::init::orthogonal(w, rng, gain);
      const Tensor t = transpose(w, 0, 1);
      const Tensor gram = shape[0] <= shape[1] ? matmul(w, t) : matmul(t, w);
      Tensor expected = eye(gram.dim(0), DType::f64);
      for (std::int64_t i = 0; i < gram.dim(0); ++i)
        expected.mutable_data<double>()[i * gram.dim(0) + i] = gain * gain;
      CHECK(max_difference(gram, expected) <= 1e-13);
    }
}

TEST_CASE("the values depend on the generator, and a view is filled in place") {
  Rng a(3), b(3);
  Tensor x = zeros({4, 6}), y = zeros({6, 4});
  Tensor transposed = transpose(y, 0, 1);
  nn::init::orthogonal(x, a);
  nn::init::orthogonal(transposed, b);
  CHECK(max_difference(x, transpose(y, 0, 1)) == 0);
}

TEST_CASE("shapes that have no fans") {
  Rng rng(1);
  Tensor vector = empty({3}), cube = empty({2, 2, 2});
  CHECK(message_of<ShapeError>([&] { nn::init::xavier_uniform(vector, rng); }) ==
        "init::xavier_uniform: w (3,): must have at least 2 axes, for fan-in and fan-out");
  CHECK_THROWS_AS(nn::init::xavier_normal(vector, rng), ShapeError);
  CHECK_THROWS_AS(nn::init::kaiming_uniform(vector, rng), ShapeError);
  CHECK_THROWS_AS(nn::init::kaiming_normal(vector, rng), ShapeError);
  CHECK(message_of<ShapeError>([&] { nn::init::orthogonal(cube, rng); }) ==
        "init::orthogonal: w (2, 2, 2): must be a matrix");
}
