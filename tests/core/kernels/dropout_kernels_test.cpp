#include <fovea/core/kernels/dropout.h>
#include <fovea/tests/core/kernels/rows_support.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

const kernels::PhiloxOrigin origin{.seed = 12345, .stream = 2, .block = 0xFFFFFFF0};

// Reference: element i uses random word i.
template <class T>
std::vector<T> reference(const std::vector<T>& x, double p) {
  std::vector<T> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const uint32_t word = kernels::philox_block(origin, i / 4).word[i % 4];
    const bool keep = (word >> 8) / 0x1p24 >= p;
    y.push_back(keep ? x[i] * static_cast<T>(1 / (1 - p)) : 0);
  }
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE(
    "dropout kernel: the mask follows from the random words, on every instruction set", T, float,
    double) {
  on_every_isa([] {
    for (const int64_t n : {0, 1, 3, 4, 5, 63, 64, 67, 1000, 16384, 40001})
      for (const double p : {0.0, 0.25, 0.5}) {
        CAPTURE(n);
        CAPTURE(p);
        const auto x = normals<T>(n, 1);
        Output<T> y(n);
        kernels::dropout(x.data(), n, p, origin, y.data());
        CHECK(y.values() == reference(x, p));
        CHECK(y.padding_untouched());
      }
  });
}

TEST_CASE("dropout kernel: p = 0 changes nothing, p = 1 gives zeros, even for NaN") {
  auto x = normals<float>(100, 2);
  Output<float> y(100);
  kernels::dropout(x.data(), 100, 0.0, origin, y.data());
  CHECK(y.values() == x);
  x[50] = std::numeric_limits<float>::quiet_NaN();
  kernels::dropout(x.data(), 100, 1.0, origin, y.data());
  CHECK(y.values() == std::vector<float>(100, 0));
}

TEST_CASE("dropout kernel: keeps the right proportion and the mean") {
  const int64_t n = 1 << 20;
  const std::vector<float> x(static_cast<std::size_t>(n), 1);
  Output<float> y(n);
  kernels::dropout(x.data(), n, 0.3, origin, y.data());
  double kept = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    kept += y[i] != 0;
    sum += y[i];
  }
  const double deviation = std::sqrt(0.3 * 0.7 / static_cast<double>(n));  // of the kept proportion
  CHECK(std::abs(kept / static_cast<double>(n) - 0.7) < 5 * deviation);
  CHECK(std::abs(sum / static_cast<double>(n) - 1) < 8 * deviation);
}

TEST_CASE("dropout kernel: bitwise equal for any number of threads") {
  const auto x = normals<float>(100003, 3);
  CHECK(same_on_any_number_of_threads([&] {
    Output<float> y(100003);
    kernels::dropout(x.data(), 100003, 0.5, origin, y.data());
    return y.values();
  }));
}
