// Dot products of rows: an element is a bitwise function of its two rows, at any position, so that
// a batch row gives the same result as alone. (Values and padding: gemm_test.)
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

// alpha is not a power of two, so that rounding a product before an addition is detected.
template <class T>
void check(const GemmKernels<T>& kernels, int64_t K, T beta, bool with_bias) {
  constexpr int64_t M = 9, N = 45;
  constexpr T alpha = T(0.7);
  CAPTURE(K);
  CAPTURE(beta);
  CAPTURE(with_bias);
  const std::vector<T> a = uniform<T>(M * K, 1), b = uniform<T>(N * K, 2), bias = uniform<T>(N, 3);
  const std::vector<T> before = uniform<T>(M * N, 4);
  std::vector<T> whole = before;
  kernels.dots(M, N, K, alpha, a.data(), K, b.data(), K, beta, with_bias ? bias.data() : nullptr,
               whole.data(), N);
  for (int64_t i = 0; i < M; ++i) {
    for (int64_t j = 0; j < N; ++j) {
      // Alone, and as the first of a few rows and columns.
      for (const int64_t more : {1, 3, 20}) {
        const int64_t rows = std::min(more, M - i), cols = std::min(more, N - j);
        std::vector<T> part(static_cast<std::size_t>(rows * cols),
                            std::numeric_limits<T>::quiet_NaN());
        const auto at = static_cast<std::size_t>(i * N + j);
        for (int64_t r = 0; beta != 0 && r < rows; ++r)
          std::copy_n(before.data() + (i + r) * N + j, cols, part.data() + r * cols);
        kernels.dots(rows, cols, K, alpha, a.data() + i * K, K, b.data() + j * K, K, beta,
                     with_bias ? bias.data() + j : nullptr, part.data(), cols);
        if (!(part[0] == whole[at])) CHECK(part[0] == whole[at]);
      }
    }
  }
  CHECK(whole[0] == whole[0]);  // not NaN
}

void check_table(const GemmTable& table) {
  for (const int64_t K : {1, 2, 3, 7, 8, 15, 16, 23, 32, 64, 100}) {
    for (const bool with_bias : {false, true}) {
      for (const double beta : {0.0, 0.3}) {
        check(table.f32, K, static_cast<float>(beta), with_bias);
        check(table.f64, K, beta, with_bias);
      }
    }
  }
}

}  // namespace

TEST_CASE("dots: an element is bitwise independent of its position") {
  check_table(baseline::gemm_table);
  if (detected_isa() >= Isa::v3) check_table(v3::gemm_table);
  if (detected_isa() >= Isa::v4) check_table(v4::gemm_table);
}
