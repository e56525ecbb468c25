// Naive reference attention: loops over vectors of double.
#pragma once

#include <fovea/core/tensor.h>

#include <cmath>
#include <vector>

namespace fovea::test {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

/// Batch row b of a (B, N, C) tensor, or the (N, C) tensor itself.
inline Rows rows_of(const Tensor& x, std::int64_t b = 0) {
  const std::int64_t N = x.dim(-2), C = x.dim(-1);
  const Row all = x.to_vector<double>();
  Rows rows;
  for (std::int64_t i = 0; i < N; ++i) {
    const auto from = all.begin() + (b * N + i) * C;
    rows.emplace_back(from, from + C);
  }
  return rows;
}

inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// W x
inline Row times(const Rows& W, const Row& x) {
  Row y;
  for (const Row& row : W) y.push_back(dot(row, x));
  return y;
}

inline Row joined(Row a, const Row& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Row plus(Row a, const Row& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

inline Row tanh_of(Row x) {
  for (double& number : x) number = std::tanh(number);
  return x;
}

/// Softmax over the unmasked s; zeros if all are masked.
inline Row softmax_over(const Row& e, const std::vector<bool>& kept) {
  double total = 0;
  for (std::size_t s = 0; s < e.size(); ++s) total += kept[s] ? std::exp(e[s]) : 0;
  Row a;
  for (std::size_t s = 0; s < e.size(); ++s) a.push_back(kept[s] ? std::exp(e[s]) / total : 0);
  return a;
}

}  // namespace fovea::test
