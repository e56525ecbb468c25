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

// Changes scores, a tile at a time. Null functions: no change. Calls may run at once, but those of
// backward for one (batch, head) never do, and come in the same order for any number of threads.
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

// B batch, H query heads, G key/value heads, T queries, S keys, D head width, E value width.
struct AttentionSizes {
  int64_t B, H, G, T, S, D, E;
};

// Weights that are dropped: the word of (b, h, t, s) is number ((b H + h) S + s) T4 + t counted
// from `origin`, T4 being T rounded up to a multiple of 4; see dropout.h for what a word does.
struct AttentionDropout {
  double p = 0;  // 0: none
  PhiloxOrigin origin = {};
};

// One batch of sequences of equal lengths. Inputs first, then what the forward writes and the
// backward reads.
template <class T>
struct AttentionProblem {
  AttentionSizes n;
  T scale;
  Heads<const T> q, k, v;
  KeepRule keep;
  AttentionDropout dropout;
  ScoreHook<T> hook;
  const T* sinks;  // (H), or null

  Heads<T> output;
  T* lse;  // (B, H, T); -inf where nothing is kept
};

// Outputs of the forward for all problems: y_t = sum_s a_ts v_s, a_t = softmax_s(scale q_t . k_s).
template <class T>
void attention_forward(std::span<const AttentionProblem<T>> problems);

// The weights' mean over the heads, before dropout: (B, T, S), written whole. Reads what the
// forward left in lse; v and output are not looked at.
template <class T>
void attention_head_mean(const AttentionProblem<T>& problem, T* mean);

// The gradients' places for one problem. dq, dk or dv with null data is not wanted.
template <class T>
struct AttentionGradients {
  Heads<const T> doutput;
  const T* dlse;  // (B, H, T), or null
  Heads<T> dq, dk, dv;
  T* dsinks;    // (B, H), or null: to be summed over B
  T* delta;     // (B, H, T): room
  T* dq_parts;  // (attention_key_chunks() - 1, B, H, T, D): room
};

// Into how many pieces the backward of one problem alone cuts the keys, so that there is work for
// several threads where batch and heads are few. 1 if a hook has a backward: it may add up
// gradients.
template <class T>
int64_t attention_key_chunks(const AttentionProblem<T>& problem);

// Each wanted gradient is written whole.
template <class T>
void attention_backward(std::span<const AttentionProblem<T>> problems,
                        std::span<const AttentionGradients<T>> gradients);

// Bytes of room that a thread takes for itself in the backward beside all of the above; the forward
// of more than a few queries takes less.
template <class T>
int64_t attention_room(const AttentionProblem<T>& problem);

// ---- One build per instruction set (attention_simd.cpp) ----------------------------------------

// A strip is `width` queries side by side: scores[i * stride + j] is key i's with query j. Masked
// scores are -inf. `stride` counts elements.
template <class T>
struct AttentionLoops {
  int64_t width;

  // Takes n more keys into the running softmax of a strip: scores become exp(score - top), times
  // drop[i * width + j] if not null; top and total (width) are brought up to date; `shrink` gets
  // the factor for what was summed up before. False if all those are 1.
  bool (*softmax)(int64_t n, const T* drop, T* scores, int64_t stride, T* top, T* total, T* shrink);

  // From scores and dweights to weights (times drop) and the derivatives by the scores:
  // p = exp(score - lse), ds = p (dweight drop - delta).
  void (*gradients)(int64_t n, const T* drop, const T* lse, const T* delta, T* scores, T* dweights,
                    int64_t stride);

  // sum += exp(score - lse) for the keys of a strip; nothing for a score of -inf, even if lse is
  // NaN.
  void (*add_weights)(int64_t n, const T* lse, const T* scores, int64_t stride, T* sum,
                      int64_t sum_stride);

  // -inf for keys outside of the queries' [begin, end), which count from the first row.
  void (*keep_between)(int64_t n, const int64_t* begin, const int64_t* end, T* scores,
                       int64_t stride);
  // -inf where the table, and where the ids, do not keep; for the first `queries` of a strip.
  void (*keep_table)(int64_t n, int64_t queries, const bool* table, int64_t t_stride,
                     int64_t s_stride, T* scores, int64_t stride);
  void (*keep_ids)(int64_t n, int64_t queries, const int64_t* query, const int64_t* key, T* scores,
                   int64_t stride);

  // drop[i * width + j]: 0 where word 4 (block + i * blocks_per_key) + j says so, else `kept`.
  void (*dropout)(int64_t n, const PhiloxOrigin& origin, uint64_t block, uint64_t blocks_per_key,
                  int32_t threshold, T kept, T* drop);

  // lse = top + log(total), or -inf.
  void (*logsumexp)(int64_t n, const T* top, const T* total, T* lse);
  void (*scale)(int64_t n, T factor, const T* x, T* y);  // y = factor x
  void (*add)(int64_t n, const T* x, T* y);              // y += x
  T (*dot)(int64_t n, const T* a, const T* b);
  bool (*all_finite)(int64_t n, const T* x);

  // For few queries, whose scores lie in rows. exp(score - top) in place; top comes in as the
  // sink's logit or -inf. Gives the sum, the sink's part included.
  T (*softmax_row)(int64_t n, T* scores, T* top);
  // y = sum_i weights[i] x_i      x: (n, width) with rows `x_stride` apart
  void (*weighted_sum)(int64_t n, int64_t width, const T* weights, const T* x, int64_t x_stride,
                       T* y);
};

struct AttentionTable {
  AttentionLoops<float> f32;
  AttentionLoops<double> f64;
};

namespace baseline {
extern const AttentionTable attention_table;
}
namespace v3 {
extern const AttentionTable attention_table;
}
namespace v4 {
extern const AttentionTable attention_table;
}

}  // namespace fovea::kernels
