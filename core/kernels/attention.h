// Scaled dot-product attention by tiles, with an online softmax: the (T, S) scores are never
// stored.
//
// Scores lie keys first, (keys, queries), so that a softmax over keys runs along vectors of queries
// and needs no sum across a vector; and so that Q^T and dO^T are packed once for a tile of queries.
#pragma once

#include <fovea/core/kernels/philox.h>

#include <cstdint>
#include <span>

namespace fovea::kernels {

// A (batch, head, row, width) array whose rows are dense.
template <class T>
struct Heads {
  T* data;
  int64_t b_stride, h_stride, row_stride;

  T* row(int64_t b, int64_t h, int64_t i) const {
    return data + b * b_stride + h * h_stride + i * row_stride;
  }
};

// Which keys are kept: [begin, end) of a query, and of those what every table and every pair of ids
// keeps. Strides are 0 where a table is broadcast.
struct KeepRule {
  const int64_t* begin;  // (b, t) at b * b_stride + t; null: all keys
  const int64_t* end;
  int64_t b_stride;
  struct Table {
    const bool* data;
    int64_t b_stride, h_stride, t_stride, s_stride;
  };
  std::span<const Table> tables;
  struct Ids {
    const int64_t* query;
    const int64_t* key;
    int64_t query_b_stride, key_b_stride;
  };
  std::span<const Ids> ids;
};

// A piece of the scores: (key + i, query + j) of batch row and query head at
// scores[i * stride + j].
template <class T>
struct ScoreTile {
  int64_t batch, head, query, key;
  int64_t queries, keys;
  T* scores;
  int64_t stride;
};

// Changes scores, a tile at a time. Null functions: no change. Calls for different (batch, head)
// may run at once; those for one (batch, head) never do.
template <class T>
struct ScoreHook {
  const void* self = nullptr;
  // scores -> modified scores, in place
  void (*forward)(const void* self, const ScoreTile<T>& tile) = nullptr;
  // tile holds the unmodified scores. dscores, laid out alike: the derivatives by the modified
  // scores come in, those by the unmodified ones go out. Adds to the gradients of what the hook
  // captured, in places that belong to (batch, head).
  void (*backward)(const void* self, const ScoreTile<T>& tile, T* dscores) = nullptr;
};

}  // namespace fovea::kernels
