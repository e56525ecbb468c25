#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/reduce.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

template <class T>
const T nan_of = std::numeric_limits<T>::quiet_NaN();

// Sizes around the vector widths, the runs of 32 rows, the column tile and the chunks.
const std::vector<ReduceSizes> hard_sizes = {
    {1, 1, 1},     {3, 7, 1}, {2, 63, 1},  {1, 1024, 1}, {2, 1025, 1},  {1, 100003, 1},
    {5, 3, 2},     {2, 4, 5}, {1, 33, 17}, {3, 70, 64},  {1, 131, 513}, {2, 3, 1030},
    {1, 5000, 40}, {4, 0, 3}, {2, 0, 1},   {0, 3, 4},    {3, 2, 0},     {2000, 4, 1},
};

int64_t count(const ReduceSizes& s) { return s.outer * s.reduced * s.inner; }

template <class T>
std::vector<T> random_numbers(int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& v : x) v = static_cast<T>(engine() % 20001) / T(100) - T(100);
  return x;
}

// The reduced elements of every output, in order.
template <class T>
std::vector<std::vector<T>> columns_of(const std::vector<T>& x, const ReduceSizes& s) {
  std::vector<std::vector<T>> columns;
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t j = 0; j < s.inner; ++j) {
      columns.emplace_back();
      for (int64_t r = 0; r < s.reduced; ++r)
        columns.back().push_back(x[static_cast<std::size_t>((o * s.reduced + r) * s.inner + j)]);
    }
  return columns;
}

// The output of `kernel`, on every instruction set; checks that nothing is written past its end.
template <class T, class Kernel>
void for_each_isa(int64_t outputs, const Kernel& kernel, const auto& check) {
  for (const Isa isa : {Isa::baseline, Isa::v3, Isa::v4}) {
    if (set_isa(isa) != isa) continue;
    INFO(name_of(isa));
    std::vector<T> y(static_cast<std::size_t>(outputs) + 1, T(77));
    kernel(y.data());
    CHECK(y.back() == T(77));
    y.pop_back();
    check(y);
  }
  set_isa(detected_isa());
}

template <class T>
double magnitude_sum(const std::vector<T>& column) {
  double sum = 0;
  for (const T v : column) sum += std::abs(static_cast<double>(v));
  return sum;
}

// Rounding of a sum in runs: at most 64 sequential additions in T (a run of 256 in four lanes),
// then those of the lanes; the totals of the runs are added in double.
template <class T>
double sum_tolerance(const std::vector<T>& column) {
  return 70 * static_cast<double>(std::numeric_limits<T>::epsilon()) * magnitude_sum(column);
}

}  // namespace

TEST_CASE_TEMPLATE("sum and mean and variance equal the naive ones", T, float, double) {
  for (const ReduceSizes& s : hard_sizes) {
    CAPTURE(s.outer);
    CAPTURE(s.reduced);
    CAPTURE(s.inner);
    const auto x = random_numbers<T>(count(s), 1);
    const auto columns = columns_of(x, s);
    const double n = static_cast<double>(s.reduced);
    const auto long_sum = [](const std::vector<T>& column) {
      return static_cast<double>(std::accumulate(column.begin(), column.end(), 0.0L));
    };
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { sum(x.data(), s, y); },
        [&](const std::vector<T>& y) {
          for (std::size_t i = 0; i < y.size(); ++i)
            CHECK(std::abs(y[i] - long_sum(columns[i])) <= sum_tolerance(columns[i]));
        });
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { mean(x.data(), s, y); },
        [&](const std::vector<T>& y) {
          for (std::size_t i = 0; i < y.size(); ++i)
            if (s.reduced == 0)
              CHECK(std::isnan(y[i]));
            else
              CHECK(std::abs(y[i] - long_sum(columns[i]) / n) <= sum_tolerance(columns[i]) / n);
        });
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { variance(x.data(), s, 1.0, y); },
        [&](const std::vector<T>& y) {
          for (std::size_t i = 0; i < y.size(); ++i) {
            if (s.reduced < 2) {
              CHECK(std::isnan(y[i]));
              continue;
            }
            const double center = long_sum(columns[i]) / n;
            long double squares = 0;
            for (const T v : columns[i])
              squares += (v - center) * static_cast<long double>(v - center);
            const double want = static_cast<double>(squares) / (n - 1);
            CHECK(std::abs(y[i] - want) <= 150 * std::numeric_limits<T>::epsilon() * want);
          }
        });
  }
}

TEST_CASE("a long sum of f32 is accurate") {
  const int64_t n = 1 << 22;
  const std::vector<float> x(n, 0.1f);
  float y = 0;
  sum(x.data(), {1, n, 1}, &y);  // sequential addition would give 412,000 instead of 419,430.4
  const double exact = n * static_cast<double>(0.1f);
  const double bound = 255 * 0x1p-24 * exact;  // runs of 256 in f32, for any vector width: 6.4
  CHECK(std::abs(y - exact) <= bound);
}

TEST_CASE("variance does not cancel for a large mean") {
  std::vector<float> x(1000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 10000.0f + static_cast<float>(i % 2);
  float y = 0;
  variance(x.data(), {1, 1000, 1}, 0.0, &y);
  CHECK(y == doctest::Approx(0.25).epsilon(1e-6));
}

TEST_CASE("sums of integers are exact") {
  const std::vector<int64_t> x = {int64_t{1} << 60, 1, -(int64_t{1} << 60), 2};
  int64_t y = 0;
  sum(x.data(), {1, 4, 1}, &y);
  CHECK(y == 3);
}

TEST_CASE_TEMPLATE("logsumexp equals the naive one", T, float, double) {
  for (const ReduceSizes& s : hard_sizes) {
    const auto x = random_numbers<T>(count(s), 2);
    const auto columns = columns_of(x, s);
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { logsumexp(x.data(), s, y); },
        [&](const std::vector<T>& y) {
          for (std::size_t i = 0; i < y.size(); ++i) {
            long double total = 0;
            for (const T v : columns[i]) total += std::exp(static_cast<long double>(v));
            const double want = static_cast<double>(std::log(total));
            if (s.reduced == 0)
              CHECK(y[i] == -std::numeric_limits<T>::infinity());
            else
              CHECK(std::abs(y[i] - want) <=
                    80 * std::numeric_limits<T>::epsilon() * std::max(1.0, std::abs(want)));
          }
        });
  }
}

TEST_CASE_TEMPLATE("logsumexp of infinities and NaN", T, float, double) {
  const T inf = std::numeric_limits<T>::infinity();
  const std::vector<T> x = {-inf, -inf, inf, 1, -inf, 3, nan_of<T>, 1};
  std::vector<T> y(4);
  logsumexp(x.data(), {4, 2, 1}, y.data());
  CHECK(y[0] == -inf);
  CHECK(y[1] == inf);
  CHECK(y[2] == T(3));
  CHECK(std::isnan(y[3]));
}

TEST_CASE_TEMPLATE("largest and smallest: value and first index", T, float, double, int64_t) {
  for (const ReduceSizes& s : hard_sizes) {
    if (s.reduced == 0) continue;
    auto x = random_numbers<T>(count(s), 3);
    for (T& v : x) v = static_cast<T>(static_cast<int64_t>(v) / 5);  // many ties
    const auto columns = columns_of(x, s);
    std::vector<int64_t> index(static_cast<std::size_t>(s.outer * s.inner));
    const auto check_against = [&](const auto& find) {
      return [&](const std::vector<T>& y) {
        for (std::size_t i = 0; i < y.size(); ++i) {
          const auto want = find(columns[i].begin(), columns[i].end());
          CHECK(y[i] == *want);
          CHECK(index[i] == want - columns[i].begin());
        }
      };
    };
    using It = typename std::vector<T>::const_iterator;
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { largest(x.data(), s, y, index.data()); },
        check_against([](It a, It b) { return std::max_element(a, b); }));
    for_each_isa<T>(
        s.outer * s.inner, [&](T* y) { smallest(x.data(), s, y, index.data()); },
        check_against([](It a, It b) { return std::min_element(a, b); }));
  }
}

TEST_CASE_TEMPLATE("the first NaN is the largest and the smallest", T, float, double) {
  for (const int64_t n : {3, 64, 200})
    for (const int64_t inner : {1, 2}) {
      std::vector<T> x(static_cast<std::size_t>(n * inner), T(1));
      for (const int64_t at : {n - 1, n / 2}) x[static_cast<std::size_t>(at * inner)] = nan_of<T>;
      std::vector<T> y(2);
      int64_t index[2];
      largest(x.data(), {1, n, inner}, y.data(), index);
      CHECK(std::isnan(y[0]));
      CHECK(index[0] == n / 2);
      smallest(x.data(), {1, n, inner}, y.data(), index);
      CHECK(std::isnan(y[0]));
      CHECK(index[0] == n / 2);
    }
}

TEST_CASE_TEMPLATE("cumsum, forward and reverse", T, float, double, int64_t) {
  for (const ReduceSizes& s : hard_sizes) {
    const auto x = random_numbers<T>(count(s), 4);
    const auto columns = columns_of(x, s);
    for (const bool reverse : {false, true}) {
      std::vector<T> y(x.size() + 1, T(77));
      cumsum(x.data(), s, reverse, y.data());
      CHECK(y.back() == T(77));
      y.pop_back();
      const auto got = columns_of(y, s);
      for (std::size_t i = 0; i < columns.size(); ++i) {
        std::vector<T> want(columns[i].size());
        Total<T> total = 0;
        for (std::size_t k = 0; k < want.size(); ++k) {
          const std::size_t r = reverse ? want.size() - 1 - k : k;
          want[r] = static_cast<T>(total += static_cast<Total<T>>(columns[i][r]));
        }
        CHECK(got[i] == want);
      }
    }
  }
}

TEST_CASE("reductions are bitwise equal for any number of threads") {
  const int before = num_threads();
  for (const ReduceSizes& s : {ReduceSizes{1, 300001, 1}, {1, 5000, 70}, {3, 200, 1030}}) {
    const auto x = random_numbers<float>(count(s), 5);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3, 8}) {
      set_num_threads(threads);
      std::vector<float> y(static_cast<std::size_t>(3 * s.outer * s.inner));
      float* const to = y.data();
      sum(x.data(), s, to);
      variance(x.data(), s, 1.0, to + s.outer * s.inner);
      logsumexp(x.data(), s, to + 2 * s.outer * s.inner);
      results.push_back(y);
    }
    for (const auto& y : results) CHECK(y == results.front());
  }
  set_num_threads(before);
}
