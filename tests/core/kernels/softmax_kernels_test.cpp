#include <fovea/core/kernels/softmax.h>
#include <fovea/tests/core/kernels/rows_support.h>

#include <memory>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr int64_t rows = 3;
constexpr double infinity = std::numeric_limits<double>::infinity();

// Softmax of a row's kept elements in f64, by plain loops.
template <class T>
std::vector<double> softmax_row(const T* x, const bool* keep, int64_t n) {
  double largest = -infinity, sum = 0;
  std::vector<double> y(static_cast<std::size_t>(n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    if (!keep || keep[i]) largest = std::max<double>(largest, x[i]);
  for (std::size_t i = 0; i < y.size(); ++i)
    if (!keep || keep[i]) sum += y[i] = std::exp(x[i] - largest);
  for (double& value : y) value = sum == 0 ? 0 : value / sum;
  return y;
}

// exp is accurate to about an ulp, its argument has an error of |x - max| epsilon, and a sum of n
// positive terms one of at most n epsilon.
template <class T>
double relative_bound(int64_t n, double largest_argument) {
  return (static_cast<double>(n) + largest_argument + 8) * std::numeric_limits<T>::epsilon();
}

template <class T>
void check_forward(int64_t n) {
  CAPTURE(n);
  const auto x = normals<T>(rows * n, 1, 5.0);
  Output<T> y(rows * n), log_y(rows * n);
  kernels::softmax(x.data(), rows, n, y.data());
  kernels::log_softmax(x.data(), rows, n, log_y.data());
  for (int64_t row = 0; row < rows; ++row) {
    const auto want = softmax_row(x.data() + row * n, nullptr, n);
    const auto at = [&](int64_t i) { return want[static_cast<std::size_t>(i)]; };
    const double relative = relative_bound<T>(n, 50);
    CHECK(close(
        n, [&](int64_t i) { return y[row * n + i]; }, at,
        [&](int64_t i) { return relative * at(i); }));
    CHECK(close(
        n, [&](int64_t i) { return log_y[row * n + i]; },
        [&](int64_t i) { return std::log(at(i)); }, [&](int64_t) { return relative; }));
  }
  CHECK(y.padding_untouched());
  CHECK(log_y.padding_untouched());
}

template <class T>
void check_backward(int64_t n) {
  CAPTURE(n);
  const auto x = normals<T>(rows * n, 2), dy = normals<T>(rows * n, 3);
  Output<T> y(rows * n), log_y(rows * n), dx(rows * n), log_dx(rows * n);
  kernels::softmax(x.data(), rows, n, y.data());
  kernels::log_softmax(x.data(), rows, n, log_y.data());
  kernels::softmax_backward(y.data(), dy.data(), rows, n, dx.data());
  kernels::log_softmax_backward(log_y.data(), dy.data(), rows, n, log_dx.data());
  for (int64_t row = 0; row < rows; ++row) {
    const auto p = softmax_row(x.data() + row * n, nullptr, n);
    double dot = 0, sum = 0, mass = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double d = dy[static_cast<std::size_t>(row * n + i)];
      dot += p[static_cast<std::size_t>(i)] * d;
      sum += d;
      mass += std::abs(d);
    }
    const auto d = [&](int64_t i) -> double { return dy[static_cast<std::size_t>(row * n + i)]; };
    const auto at = [&](int64_t i) { return p[static_cast<std::size_t>(i)]; };
    const double bound = 2 * relative_bound<T>(n, 10);
    CHECK(close(
        n, [&](int64_t i) { return dx[row * n + i]; },
        [&](int64_t i) { return at(i) * (d(i) - dot); },
        [&](int64_t i) { return bound * at(i) * (std::abs(d(i)) + 4); }));
    CHECK(close(
        n, [&](int64_t i) { return log_dx[row * n + i]; },
        [&](int64_t i) { return d(i) - at(i) * sum; },
        [&](int64_t i) { return bound * (std::abs(d(i)) + at(i) * mass); }));
  }
  CHECK(dx.padding_untouched());
  CHECK(log_dx.padding_untouched());
}

}  // namespace

TEST_CASE_TEMPLATE("softmax kernels: equal the plain loop in f64", T, float, double) {
  on_every_isa([] {
    for (const int64_t n : row_lengths) check_forward<T>(n);
  });
}

TEST_CASE_TEMPLATE("softmax kernels: gradients equal the formula in f64", T, float, double) {
  on_every_isa([] {
    for (const int64_t n : row_lengths) check_backward<T>(n);
  });
}

TEST_CASE_TEMPLATE("masked_softmax: the softmax of the kept elements, for any masked values", T,
                   float, double) {
  on_every_isa([] {
    for (const int64_t n : row_lengths) {
      CAPTURE(n);
      auto x = normals<T>(rows * n, 4, 5.0);
      const auto keep = std::make_unique<bool[]>(static_cast<std::size_t>(rows * n));
      for (int64_t i = 0; i < rows * n; ++i) {
        keep[static_cast<std::size_t>(i)] =
            i / n != 1 && i % 3 != 1;  // the middle row is fully masked
        if (!keep[static_cast<std::size_t>(i)])
          x[static_cast<std::size_t>(i)] = std::numeric_limits<T>::quiet_NaN();
      }
      Output<T> y(rows * n);
      kernels::masked_softmax(x.data(), keep.get(), rows, n, y.data());
      for (int64_t row = 0; row < rows; ++row) {
        const auto want = softmax_row(x.data() + row * n, keep.get() + row * n, n);
        const auto at = [&](int64_t i) { return want[static_cast<std::size_t>(i)]; };
        CHECK(close(
            n, [&](int64_t i) { return y[row * n + i]; }, at,
            [&](int64_t i) { return relative_bound<T>(n, 50) * at(i); }));
      }
      CHECK(y.padding_untouched());
    }
  });
}

TEST_CASE("masked_softmax: kept scores of -inf have weight 0, a kept NaN propagates") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {-inf, -inf, 7, -inf, 2, 7, nan, 1, 7};
  const bool keep[] = {true, true, false, true, true, false, true, true, false};
  on_every_isa([&] {
    Output<float> y(9);
    kernels::masked_softmax(x.data(), keep, 3, 3, y.data());
    CHECK(std::vector<float>{y[0], y[1], y[2]} == std::vector<float>{0, 0, 0});
    CHECK(std::vector<float>{y[3], y[4], y[5]} == std::vector<float>{0, 1, 0});
    CHECK(std::isnan(y[6]));
    CHECK(std::isnan(y[7]));
  });
}

TEST_CASE("softmax kernels: large scores do not overflow; rows with undefined softmax give NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {3e38f, 3e38f, -3e38f, -inf, 0, 0, -inf, -inf, -inf, inf, 0, 0};
  on_every_isa([&] {
    Output<float> y(12), log_y(12);
    kernels::softmax(x.data(), 4, 3, y.data());
    kernels::log_softmax(x.data(), 4, 3, log_y.data());
    CHECK(std::vector<float>{y[0], y[1], y[2]} == std::vector<float>{0.5f, 0.5f, 0});
    CHECK(std::vector<float>{y[3], y[4], y[5]} == std::vector<float>{0, 0.5f, 0.5f});
    CHECK(log_y[0] == doctest::Approx(-std::log(2.0)));
    CHECK(log_y[3] == -inf);
    for (int64_t i = 6; i < 9; ++i) CHECK(std::isnan(y[i]));
    CHECK(std::isnan(y[9]));
  });
}

TEST_CASE("softmax kernels: bitwise equal for any number of threads; empty matrices") {
  const int64_t many = 500, n = 257;
  const auto x = normals<float>(many * n, 5);
  CHECK(same_on_any_number_of_threads([&] {
    Output<float> y(many * n);
    kernels::softmax(x.data(), many, n, y.data());
    return y.values();
  }));
  Output<float> none(0);
  kernels::softmax(x.data(), 0, n, none.data());
  kernels::log_softmax(x.data(), 5, 0, none.data());
  CHECK(none.padding_untouched());
}
