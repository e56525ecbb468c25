#include <fovea/core/kernels/norm.h>
#include <fovea/tests/core/kernels/rows_support.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr double eps = 1e-5;

// Layer norm (centered) or RMS norm of one matrix and its gradients, in f64, by the formula.
struct Reference {
  std::vector<double> y, dx, dg, db;

  template <class T>
  Reference(bool centred, int64_t rows, int64_t C, const T* x, const T* g, const T* b, const T* dy)
      : y(static_cast<std::size_t>(rows * C)),
        dx(y.size()),
        dg(static_cast<std::size_t>(C)),
        db(dg.size()) {
    const double n = static_cast<double>(C);
    const std::size_t width = dg.size();
    for (std::size_t at = 0; at < y.size(); at += width) {
      double mu = 0, var = 0, sum_d = 0, sum_dh = 0;
      for (std::size_t c = 0; c < width; ++c) mu += centred ? x[at + c] / n : 0;
      for (std::size_t c = 0; c < width; ++c) var += (x[at + c] - mu) * (x[at + c] - mu) / n;
      const double r = 1 / std::sqrt(var + eps);
      const auto h = [&](std::size_t c) { return (x[at + c] - mu) * r; };
      for (std::size_t c = 0; c < width; ++c) {
        y[at + c] = g[c] * h(c) + (centred ? b[c] : 0);
        sum_d += centred ? double{g[c]} * dy[at + c] : 0;
        sum_dh += g[c] * dy[at + c] * h(c);
        dg[c] += dy[at + c] * h(c);
        db[c] += dy[at + c];
      }
      for (std::size_t c = 0; c < width; ++c)
        dx[at + c] = r * (double{g[c]} * dy[at + c] - sum_d / n - h(c) * sum_dh / n);
    }
  }
};

template <class T>
struct Results {
  Output<T> y, dx, dg, db;
  Results(int64_t rows, int64_t C) : y(rows * C), dx(rows * C), dg(C), db(C) {}
};

template <class T>
Results<T> run(bool centred, int64_t rows, int64_t C, const T* x, const T* g, const T* b,
               const T* dy) {
  Results<T> got(rows, C);
  Output<T> mu(rows), r(rows), partial(kernels::norm_partial_size(rows, C));
  if (centred) {
    kernels::layer_norm(x, g, b, T(eps), rows, C, got.y.data(), mu.data(), r.data());
    kernels::layer_norm_backward(x, g, mu.data(), r.data(), dy, rows, C, got.dx.data(),
                                 got.dg.data(), got.db.data(), partial.data());
  } else {
    kernels::rms_norm(x, g, T(eps), rows, C, got.y.data(), r.data());
    kernels::rms_norm_backward(x, g, r.data(), dy, rows, C, got.dx.data(), got.dg.data(),
                               partial.data());
  }
  CHECK((mu.padding_untouched() && r.padding_untouched() && partial.padding_untouched()));
  return got;
}

template <class T>
bool equals(const Output<T>& got, const std::vector<double>& want, double bound) {
  return got.padding_untouched() &&
         close(
             static_cast<int64_t>(want.size()), [&](int64_t i) { return got[i]; },
             [&](int64_t i) { return want[static_cast<std::size_t>(i)]; },
             [&](int64_t) { return bound; });
}

// Inputs and gradients are of order 1, so every sum of C (or of `rows`) terms is off by at most
// that many epsilon times the largest term, about 30. Exception: a normalized row of two elements
// is +-1 whatever its values, and its dx is a difference of equal values times r.
template <class T>
void check(bool centred, int64_t rows, int64_t C) {
  CAPTURE(rows);
  CAPTURE(C);
  const auto x = normals<T>(rows * C, 1), dy = normals<T>(rows * C, 2);
  const auto g = normals<T>(C, 3), b = normals<T>(C, 4);
  const Reference want(centred, rows, C, x.data(), g.data(), b.data(), dy.data());
  const Results<T> got = run(centred, rows, C, x.data(), g.data(), b.data(), dy.data());
  double largest_r = 1;
  for (const double value : want.dx) largest_r = std::max(largest_r, std::abs(value));
  const double epsilon = std::numeric_limits<T>::epsilon();
  CHECK(equals(got.y, want.y, 30 * static_cast<double>(C + 8) * epsilon));
  CHECK(equals(got.dx, want.dx, 1e3 * static_cast<double>(C + 8) * epsilon * largest_r));
  CHECK(equals(got.dg, want.dg, 30 * static_cast<double>(C + rows + 8) * epsilon));
  if (centred) CHECK(equals(got.db, want.db, 30 * static_cast<double>(rows + 8) * epsilon));
}

}  // namespace

TEST_CASE_TEMPLATE("norm kernels: values and gradients equal the formula in f64", T, float,
                   double) {
  on_every_isa([] {
    for (const bool centred : {true, false}) {
      CAPTURE(centred);
      for (const int64_t C : row_lengths) check<T>(centred, 5, C);
      check<T>(centred, 1000, 33);
      check<T>(centred, 1, 64);
    }
  });
}

TEST_CASE("layer_norm kernel: the variance is accurate for a large mean") {
  const int64_t C = 64;
  auto x = normals<float>(C, 6);
  const std::vector<float> g(C, 1), b(C, 0);
  on_every_isa([&] {
    Output<float> small(C), large(C), mu(1), r(1), r_large(1);
    kernels::layer_norm(x.data(), g.data(), b.data(), 1e-5f, 1, C, small.data(), mu.data(),
                        r.data());
    auto shifted = x;
    for (float& value : shifted) value += 4096;
    kernels::layer_norm(shifted.data(), g.data(), b.data(), 1e-5f, 1, C, large.data(), mu.data(),
                        r_large.data());
    // The shift rounds x to multiples of 2^-11.
    CHECK(close(
        C, [&](int64_t i) { return large[i]; }, [&](int64_t i) { return small[i]; },
        [&](int64_t) { return 4e-3; }));
  });
}

TEST_CASE("norm kernels: a constant row gives the bias, and NaN stays in its row") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {3, 3, 3, 1, nan, 2}, g(3, 2), b = {1, 2, 3};
  on_every_isa([&] {
    Output<float> y(6), mu(2), r(2);
    kernels::layer_norm(x.data(), g.data(), b.data(), 1e-5f, 2, 3, y.data(), mu.data(), r.data());
    CHECK(std::vector<float>{y[0], y[1], y[2]} == b);
    for (int64_t i = 3; i < 6; ++i) CHECK(std::isnan(y[i]));
  });
}

TEST_CASE("norm kernels: gradients are bitwise equal for any number of threads") {
  const int64_t rows = 3000, C = 70;
  const auto x = normals<float>(rows * C, 7), dy = normals<float>(rows * C, 8);
  const auto g = normals<float>(C, 9);
  for (const bool centred : {true, false})
    for (const int which : {0, 1, 2}) {
      if (!centred && which == 2) continue;
      CHECK(same_on_any_number_of_threads([&] {
        const auto got = run(centred, rows, C, x.data(), g.data(), g.data(), dy.data());
        return which == 0 ? got.dx.values() : which == 1 ? got.dg.values() : got.db.values();
      }));
    }
}

TEST_CASE("norm kernels: no rows give gradients of zero") {
  Results<float> got = run<float>(true, 0, 4, nullptr, nullptr, nullptr, nullptr);
  CHECK(got.dg.values() == std::vector<float>(4, 0));
  CHECK(got.db.values() == std::vector<float>(4, 0));
}
