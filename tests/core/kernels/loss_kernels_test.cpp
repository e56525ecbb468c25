#include <fovea/core/kernels/loss.h>
#include <fovea/tests/core/kernels/rows_support.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr int64_t rows = 6, ignored = -100;

std::vector<int64_t> targets(int64_t V) {
  std::vector<int64_t> target;
  for (int64_t row = 0; row < rows; ++row) target.push_back(row == 2 ? ignored : row * 7 % V);
  return target;
}

template <class T>
double weight_of(const kernels::CrossEntropy<T>& spec, int64_t c) {
  return spec.weight ? double{spec.weight[c]} : 1.0;
}

// One row's loss and gradient in f64, by the formula.
struct Reference {
  double loss = 0;
  std::vector<double> dx;

  template <class T>
  Reference(const kernels::CrossEntropy<T>& spec, const T* x, int64_t t, double dloss)
      : dx(static_cast<std::size_t>(spec.V)) {
    if (t == spec.ignore_index) return;
    double largest = x[0], sum = 0;
    for (int64_t c = 0; c < spec.V; ++c) largest = std::max<double>(largest, x[c]);
    for (int64_t c = 0; c < spec.V; ++c) sum += std::exp(x[c] - largest);
    const double lse = largest + std::log(sum);
    for (int64_t c = 0; c < spec.V; ++c) {
      // The loss is a weighted sum of -log p_c; each term gives p - [c] times its weight.
      double weight = spec.smoothing / static_cast<double>(spec.V) * weight_of(spec, c);
      if (c == t) weight += (1 - spec.smoothing) * weight_of(spec, t);
      loss += weight * (lse - x[c]);
      for (int64_t i = 0; i < spec.V; ++i)
        dx[static_cast<std::size_t>(i)] += dloss * weight * (std::exp(x[i] - lse) - (i == c));
    }
  }
};

template <class T>
void check(int64_t V, double smoothing, bool weighted) {
  CAPTURE(V);
  CAPTURE(smoothing);
  CAPTURE(weighted);
  const auto x = normals<T>(rows * V, 1, 3.0), dloss = normals<T>(rows, 2);
  auto weight = normals<T>(V, 3);
  for (T& w : weight) w = std::abs(w);
  const kernels::CrossEntropy<T> spec{V, ignored, T(smoothing), weighted ? weight.data() : nullptr};
  const auto target = targets(V);
  Output<T> loss(rows), lse(rows), dx(rows * V);
  kernels::cross_entropy(spec, x.data(), target.data(), rows, loss.data(), lse.data());
  kernels::cross_entropy_backward(spec, x.data(), target.data(), lse.data(), dloss.data(), rows,
                                  dx.data());
  CHECK((loss.padding_untouched() && lse.padding_untouched() && dx.padding_untouched()));
  // Sums of V terms, each at most some 30 times its weight (4 at most).
  const double bound = 120 * static_cast<double>(V + 8) * std::numeric_limits<T>::epsilon();
  for (int64_t row = 0; row < rows; ++row) {
    CAPTURE(row);
    const auto at = static_cast<std::size_t>(row);
    const Reference want(spec, x.data() + row * V, target[at], dloss[at]);
    CHECK(std::abs(loss[row] - want.loss) <= bound);
    CHECK(close(
        V, [&](int64_t c) { return dx[row * V + c]; },
        [&](int64_t c) { return want.dx[static_cast<std::size_t>(c)]; },
        [&](int64_t) { return bound; }));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("cross_entropy kernels: loss and gradient equal the formula in f64", T, float,
                   double) {
  on_every_isa([] {
    for (const double smoothing : {0.0, 0.1, 1.0})
      for (const bool weighted : {false, true})
        for (const int64_t V : {1, 2, 7, 16, 33, 257}) check<T>(V, smoothing, weighted);
  });
}

TEST_CASE("cross_entropy kernels: an ignored row has loss 0 and gradient 0, whatever its values") {
  const std::vector<float> x(5, std::numeric_limits<float>::quiet_NaN());
  const int64_t target = ignored;
  const float dloss = 1;
  on_every_isa([&] {
    const kernels::CrossEntropy<float> spec{5, ignored, 0.1f, nullptr};
    Output<float> loss(1), lse(1), dx(5);
    kernels::cross_entropy(spec, x.data(), &target, 1, loss.data(), lse.data());
    kernels::cross_entropy_backward(spec, x.data(), &target, lse.data(), &dloss, 1, dx.data());
    CHECK(loss[0] == 0);
    CHECK(dx.values() == std::vector<float>(5, 0));
  });
}

TEST_CASE("cross_entropy kernels: large logits, impossible classes, and a loss near zero") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {3e38f, 0, -inf, 0, 0, -inf, 1000, 990, 0};
  const std::vector<int64_t> target = {1, 0, 0};
  const std::vector<float> dloss = {1, 1, 1};
  on_every_isa([&] {
    const kernels::CrossEntropy<float> spec{3, ignored, 0, nullptr};
    Output<float> loss(3), lse(3), dx(9);
    kernels::cross_entropy(spec, x.data(), target.data(), 3, loss.data(), lse.data());
    kernels::cross_entropy_backward(spec, x.data(), target.data(), lse.data(), dloss.data(), 3,
                                    dx.data());
    CHECK(loss[0] == 3e38f);
    CHECK(loss[1] == doctest::Approx(std::log(2.0)));
    CHECK(dx[5] == 0);
    CHECK(loss[2] == doctest::Approx(std::exp(-10.0)).epsilon(2e-3));
  });
}

TEST_CASE("cross_entropy kernels: a vocabulary of 50,000 is accurate") {
  const int64_t V = 50000;
  const std::vector<float> x(static_cast<std::size_t>(V), 0.25f);
  const int64_t target = 49999;
  on_every_isa([&] {
    const kernels::CrossEntropy<float> spec{V, ignored, 0.1f, nullptr};
    Output<float> loss(1), lse(1);
    kernels::cross_entropy(spec, x.data(), &target, 1, loss.data(), lse.data());
    CHECK(loss[0] == doctest::Approx(std::log(static_cast<double>(V))).epsilon(1e-6));
  });
}

TEST_CASE("cross_entropy kernels: bitwise equal for any number of threads") {
  const int64_t many = 300, V = 501;
  const auto x = normals<float>(many * V, 4), dloss = normals<float>(many, 5);
  const std::vector<int64_t> target(static_cast<std::size_t>(many), 17);
  CHECK(same_on_any_number_of_threads([&] {
    const kernels::CrossEntropy<float> spec{V, ignored, 0.1f, nullptr};
    Output<float> loss(many), lse(many), dx(many * V);
    kernels::cross_entropy(spec, x.data(), target.data(), many, loss.data(), lse.data());
    kernels::cross_entropy_backward(spec, x.data(), target.data(), lse.data(), dloss.data(), many,
                                    dx.data());
    return dx.values();
  }));
}
