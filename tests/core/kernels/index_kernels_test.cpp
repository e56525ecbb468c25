#include <fovea/core/kernels/index.h>
#include <fovea/core/kernels/parallel.h>

#include <numeric>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

std::size_t at(int64_t i) { return static_cast<std::size_t>(i); }

template <class T>
std::vector<T> random_numbers(int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<T> x(at(n));
  for (T& v : x) v = static_cast<T>(engine() % 1000) / T(7);
  return x;
}

std::vector<int64_t> random_index(int64_t n, int64_t size, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<int64_t> index(at(n));
  for (int64_t& i : index) i = static_cast<int64_t>(engine()) % size;
  return index;
}

const std::vector<IndexSizes> hard_sizes = {
    {1, 1, 1, 1},     {1, 5, 9, 1}, {3, 4, 6, 5}, {2, 7, 3, 64}, {1, 3, 40, 65},
    {2, 50, 30, 200}, {1, 5, 0, 4}, {0, 5, 3, 4}, {2, 5, 3, 0},  {1, 100, 2000, 130}};

}  // namespace

TEST_CASE("first_outside finds the first index that is negative or too large") {
  const std::vector<int64_t> index = {0, 4, 5, -1};
  CHECK(first_outside(index.data(), 2, 5) == -1);
  CHECK(first_outside(index.data(), 4, 5) == 2);
  CHECK(first_outside(index.data(), 4, 6) == 3);
  CHECK(first_outside(index.data(), 0, 0) == -1);
}

TEST_CASE_TEMPLATE("select_rows and add_rows equal the naive loops", T, float, double, int64_t) {
  for (const IndexSizes& s : hard_sizes) {
    const auto x = random_numbers<T>(s.outer * s.size * s.inner, 1);
    const auto dy = random_numbers<T>(s.outer * s.count * s.inner, 2);
    const auto index = random_index(s.count, s.size, 3);
    const int64_t skip = 2;
    std::vector<T> y(dy.size()), want_y(dy.size()), dx(x.size()), want_dx(x.size());
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t m = 0; m < s.count; ++m)
        for (int64_t j = 0; j < s.inner; ++j) {
          const int64_t from = (o * s.size + index[at(m)]) * s.inner + j;
          const int64_t to = (o * s.count + m) * s.inner + j;
          want_y[at(to)] = x[at(from)];
          if (index[at(m)] != skip) want_dx[at(from)] += dy[at(to)];
        }
    select_rows(x.data(), index.data(), s, y.data());
    add_rows(dy.data(), index.data(), s, skip, dx.data());
    CHECK(y == want_y);
    CHECK(dx == want_dx);
  }
}

TEST_CASE_TEMPLATE("gather and scatter_add equal the naive loops", T, float, double, int64_t) {
  for (const IndexSizes& s : hard_sizes) {
    const auto x = random_numbers<T>(s.outer * s.size * s.inner, 1);
    const auto dy = random_numbers<T>(s.outer * s.count * s.inner, 2);
    const auto index = random_index(s.outer * s.count * s.inner, s.size, 3);
    std::vector<T> y(dy.size()), want_y(dy.size()), dx(x.size()), want_dx(x.size());
    for (int64_t to = 0; to < s.outer * s.count * s.inner; ++to) {
      const int64_t o = to / (s.count * s.inner), j = to % s.inner;
      const int64_t from = (o * s.size + index[at(to)]) * s.inner + j;
      want_y[at(to)] = x[at(from)];
      want_dx[at(from)] += dy[at(to)];
    }
    gather(x.data(), index.data(), s, y.data());
    scatter_add(dy.data(), index.data(), s, dx.data());
    CHECK(y == want_y);
    CHECK(dx == want_dx);
  }
}

TEST_CASE("repeated indices are bitwise equal for any number of threads") {
  const int before = num_threads();
  const IndexSizes s{2, 10, 3000, 200};
  const auto dy = random_numbers<float>(s.outer * s.count * s.inner, 1);
  const auto rows = random_index(s.count, s.size, 2);
  const auto places = random_index(s.outer * s.count * s.inner, s.size, 3);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    results.emplace_back(at(s.outer * s.size * s.inner));
    add_rows(dy.data(), rows.data(), s, -1, results.back().data());
    scatter_add(dy.data(), places.data(), s, results.back().data());
  }
  set_num_threads(before);
  for (const auto& x : results) CHECK(x == results.front());
}
