// Shared by the row-wise kernels (softmax, norm, loss, dropout) outside their inner loops.
#pragma once

#include <fovea/core/kernels/parallel.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace fovea::kernels {

// The member of a table of loops {f32, f64} that handles T.
template <class T, class Table>
const auto& loops_of(const Table& table) {
  if constexpr (std::is_same_v<T, float>)
    return table.f32;
  else
    return table.f64;
}

// Number of rows of n elements per chunk that justifies starting a thread.
inline int64_t row_grain(int64_t n) {
  constexpr int64_t entries = 16 * 1024;
  return std::max<int64_t>(1, entries / std::max<int64_t>(1, n));
}

// Calls f(first_row, row_count) on several threads. Rows are independent, so the result does not
// depend on the chunks.
template <class F>
void for_rows(int64_t rows, int64_t n, const F& f) {
  parallel_for(rows, row_grain(n), [&f](int64_t begin, int64_t end) { f(begin, end - begin); });
}

}  // namespace fovea::kernels
