// Attention for a few queries, as in token-by-token decoding: row by row, since most of a tile
// would be empty.
#pragma once

#include <fovea/core/kernels/attention.h>

namespace fovea::kernels {

// Measured: up to this number of queries, rows are faster than tiles.
constexpr int64_t kRowQueries = 8;

template <class T>
bool in_rows(const AttentionProblem<T>& problem) {
  return problem.n.T <= kRowQueries;
}

// The queries that use key head `task` % G of batch row `task` / G.
template <class T>
void attention_rows(const AttentionProblem<T>& problem, int64_t task);

}  // namespace fovea::kernels
