#include <fovea/core/kernels/copy.h>
#include <fovea/core/kernels/parallel.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

using Ints = std::vector<int64_t>;

int64_t product(const Ints& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

Ints row_major(const Ints& sizes) {
  Ints strides(sizes.size(), 1);
  for (std::size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  return strides;
}

// Reference: one element at a time, its index computed by divisions.
template <class T>
void naive_copy(const Ints& sizes, const T* src, const Ints& src_strides, T* dst,
                const Ints& dst_strides) {
  for (int64_t i = 0; i < product(sizes); ++i) {
    int64_t rest = i, from = 0, to = 0;
    for (std::size_t d = sizes.size(); d-- > 0; rest /= sizes[d]) {
      from += rest % sizes[d] * src_strides[d];
      to += rest % sizes[d] * dst_strides[d];
    }
    dst[to] = src[from];
  }
}

// The copy equals the reference, and the elements around and between its targets are unchanged.
template <class T>
void check_copy(const Ints& sizes, const Ints& src_strides, const Ints& dst_strides,
                int64_t src_start = 0) {
  const auto extent = [&](const Ints& strides) {
    int64_t last = 0;
    for (std::size_t d = 0; d < sizes.size(); ++d) last += std::abs(strides[d]) * (sizes[d] - 1);
    return static_cast<std::size_t>(std::max<int64_t>(0, last) + 1);
  };
  std::vector<T> src(extent(src_strides));
  for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<T>(i * 7 + 1);
  std::vector<T> want(extent(dst_strides) + 8, T(99)), got = want;
  naive_copy(sizes, src.data() + src_start, src_strides, want.data(), dst_strides);
  copy_strided(sizeof(T), sizes.data(), static_cast<int>(sizes.size()), src.data() + src_start,
               src_strides.data(), got.data(), dst_strides.data());
  CHECK(got == want);
}

template <class T>
void check_permuted(const Ints& sizes, const std::vector<std::size_t>& order) {
  const Ints strides = row_major(sizes);
  Ints out_sizes, src_strides;
  for (const std::size_t axis : order) {
    out_sizes.push_back(sizes[axis]);
    src_strides.push_back(strides[axis]);
  }
  check_copy<T>(out_sizes, src_strides, row_major(out_sizes));
}

}  // namespace

TEST_CASE_TEMPLATE("copy_strided equals the naive copy", T, unsigned char, int32_t, int64_t) {
  SUBCASE("permutations, sizes around the tile") {
    for (const Ints& sizes : {Ints{1, 1}, {3, 5}, {31, 33}, {32, 64}, {65, 100}, {1, 40}})
      check_permuted<T>(sizes, {1, 0});
    check_permuted<T>({3, 5, 7}, {0, 1, 2});
    check_permuted<T>({3, 5, 7}, {1, 0, 2});
    check_permuted<T>({3, 35, 40}, {0, 2, 1});
    check_permuted<T>({33, 5, 40}, {2, 1, 0});
    check_permuted<T>({33, 5, 40}, {2, 0, 1});
    check_permuted<T>({2, 3, 1, 4, 5}, {4, 0, 3, 2, 1});
    check_permuted<T>({2, 1, 2, 3, 2, 1, 2, 3}, {7, 0, 6, 1, 5, 2, 4, 3});
  }
  SUBCASE("broadcast, reversed and sliced sources") {
    check_copy<T>({4, 6}, {0, 1}, {6, 1});
    check_copy<T>({4, 6}, {1, 0}, {6, 1});
    check_copy<T>({4, 6}, {0, 0}, {6, 1});
    check_copy<T>({6}, {-1}, {1}, 5);
    check_copy<T>({3, 4}, {-4, 1}, {4, 1}, 8);
    check_copy<T>({3, 4}, {20, 2}, {4, 1});
  }
  SUBCASE("strided destinations") {
    check_copy<T>({3, 4}, {4, 1}, {9, 1});
    check_copy<T>({3, 4}, {4, 1}, {1, 3});
    check_copy<T>({3, 4}, {1, 3}, {9, 2});
    check_copy<T>({2, 40, 40}, {1600, 1, 40}, {5000, 50, 1});
  }
  SUBCASE("no axes, no elements") {
    check_copy<T>({}, {}, {});
    T target = 5;
    const Ints sizes{3, 0}, strides{1, 1};
    copy_strided(sizeof(T), sizes.data(), 2, nullptr, strides.data(), &target, strides.data());
    CHECK(target == 5);
  }
}

TEST_CASE("copies large enough for several threads") {
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    check_copy<int32_t>({200001}, {1}, {1});
    check_copy<int32_t>({3, 70001}, {70001, 1}, {70005, 1});
    check_permuted<int32_t>({301, 403}, {1, 0});
    check_permuted<int32_t>({4, 100, 8, 50}, {0, 2, 1, 3});
    check_permuted<int32_t>({4, 100, 8, 50}, {0, 2, 3, 1});
  }
  set_num_threads(before);
}

TEST_CASE_TEMPLATE("fill writes exactly n elements", T, unsigned char, float, double) {
  for (const int64_t n : {0, 1, 5, 100000}) {
    std::vector<T> v(static_cast<std::size_t>(n + 1), T(7));
    const T pattern = T(3);
    fill(sizeof(T), v.data(), n, &pattern);
    CHECK(std::count(v.begin(), v.end(), T(3)) == n);
    CHECK(v.back() == T(7));
  }
}

TEST_CASE_TEMPLATE("add_into adds exactly n elements", T, float, double, int64_t) {
  for (const int64_t n : {0, 1, 7, 33, 100000}) {
    std::vector<T> y(static_cast<std::size_t>(n + 1)), x(y.size(), T(1)), want;
    std::iota(y.begin(), y.end(), T(0));
    want = y;
    for (int64_t i = 0; i < n; ++i) want[static_cast<std::size_t>(i)] += T(1);
    add_into(y.data(), x.data(), n);
    CHECK(y == want);
  }
}

TEST_CASE("convert follows C++'s conversions") {
  const float from[] = {-1.75f, 0.0f, 0.5f, 3.0f};
  double doubles[4];
  int64_t ints[4];
  bool bools[4];
  convert(from, doubles, 4);
  convert(from, ints, 4);
  convert(from, bools, 4);
  for (int i = 0; i < 4; ++i) CHECK(doubles[i] == static_cast<double>(from[i]));
  CHECK(std::vector<int64_t>(ints, ints + 4) == std::vector<int64_t>{-1, 0, 0, 3});
  CHECK(std::vector<bool>(bools, bools + 4) == std::vector<bool>{true, false, true, true});

  float back[4];
  convert(bools, back, 4);
  CHECK(std::vector<float>(back, back + 4) == std::vector<float>{1, 0, 1, 1});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  convert(&nan, bools, 1);
  CHECK(bools[0]);
}
