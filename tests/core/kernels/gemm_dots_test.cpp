// Dot products of rows: an element's bits depend on its two rows alone, wherever it stands, so that
// a row of a batch gives what it gives by itself. (Values and padding: gemm_test.)
#include <fovea/core/kernels/gemm_kernels.h>
#include <fovea/core/kernels/isa.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

template <class T>
std::vector<T> uniform(int64_t n, unsigned seed) {
  std::mt19937 bits(seed);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& v : x) v = static_cast<T>(bits()) / static_cast<T>(1u << 31) - 1;
  return x;
}

template <class T>
void check(const GemmKernels<T>& kernels, int64_t K) {
  constexpr int64_t M = 9, N = 45;
  CAPTURE(K);
  const std::vector<T> a = uniform<T>(M * K, 1), b = uniform<T>(N * K, 2), bias = uniform<T>(N, 3);
  std::vector<T> whole(M * N);
  kernels.dots(M, N, K, T(0.5), a.data(), K, b.data(), K, T{0}, bias.data(), whole.data(), N);
  for (int64_t i = 0; i < M; ++i) {
    for (int64_t j = 0; j < N; ++j) {
      // Alone, and as the first of a few rows and columns.
      for (const int64_t more : {1, 3, 20}) {
        const int64_t rows = std::min(more, M - i), cols = std::min(more, N - j);
        std::vector<T> part(static_cast<std::size_t>(rows * cols),
                            std::numeric_limits<T>::quiet_NaN());
        kernels.dots(rows, cols, K, T(0.5), a.data() + i * K, K, b.data() + j * K, K, T{0},
                     bias.data() + j, part.data(), cols);
        const auto at = static_cast<std::size_t>(i * N + j);
        if (!(part[0] == whole[at])) CHECK(part[0] == whole[at]);
      }
    }
  }
  CHECK(whole[0] == whole[0]);  // numbers
}

void check_table(const GemmTable& table) {
  for (const int64_t K : {1, 2, 3, 7, 8, 15, 16, 23, 32, 64, 100}) {
    check(table.f32, K);
    check(table.f64, K);
  }
}

}  // namespace

TEST_CASE("dots: the same bits for an element wherever it stands") {
  check_table(baseline::gemm_table);
  if (detected_isa() >= Isa::v3) check_table(v3::gemm_table);
  if (detected_isa() >= Isa::v4) check_table(v4::gemm_table);
}
