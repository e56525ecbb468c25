// Scaled dot-product attention by tiles, with an online softmax: the (T, S) scores are never
// stored.
//
// Scores are stored as (keys, queries), so that a softmax over keys runs along vectors of queries
// without horizontal sums, and Q^T and dO^T are packed once per tile of queries.
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

// The mask: a key is attended if it is in the query's [begin, end) and allowed by every table and
// every pair of ids. Strides are 0 where a table is broadcast.
struct MaskView {
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

// A tile of the scores: (key + i, query + j) of a batch row and query head is at scores[i * stride
// + j].
template <class T>
struct ScoreTile {
  int64_t batch, head, query, key;
  int64_t queries, keys;
  T* scores;
  int64_t stride;
};

// Modifies scores, one tile at a time. Null functions: no change. Calls may be concurrent, but
// backward calls for one (batch, head) are sequential, in an order independent of the number of
// threads.
template <class T>
struct ScoreHook {
  const void* self = nullptr;
  // scores -> modified scores, in place
  void (*forward)(const void* self, const ScoreTile<T>& tile) = nullptr;
  // tile holds the unmodified scores. dscores, with the same layout: on entry the derivatives by
  // the modified scores, on return those by the unmodified ones. Accumulates the gradients of
  // captured tensors in the elements of (batch, head).
  void (*backward)(const void* self, const ScoreTile<T>& tile, T* dscores) = nullptr;
};

// B batch, H query heads, G key/value heads, T queries, S keys, D head width, E value width.
struct AttentionSizes {
  int64_t B, H, G, T, S, D, E;
};

// Dropout of weights: the word of (b, h, t, s) has index ((b H + h) S + s) T4 + t from `origin`, T4
// being T rounded up to a multiple of 4; dropout.h defines how a word is used.
struct AttentionDropout {
  double p = 0;  // 0: none
  PhiloxOrigin origin = {};
};

// A batch of sequences of equal length. Inputs first, then values written by the forward and read
// by the backward.
template <class T>
struct AttentionProblem {
  AttentionSizes n;
  T scale;
  Heads<const T> q, k, v;
  MaskView keep;
  AttentionDropout dropout;
  ScoreHook<T> hook;
  const T* sinks;  // (H), or null

  Heads<T> output;
  T* lse;  // (B, H, T); -inf if no key is attended
};

// Outputs of the forward for all problems: y_t = sum_s a_ts v_s, a_t = softmax_s(scale q_t . k_s).
template <class T>
void attention_forward(std::span<const AttentionProblem<T>> problems);

// The mean of the weights over the heads, before dropout: (B, T, S), overwritten. Reads lse as the
// forward wrote it; does not read v and output.
template <class T>
void attention_head_mean(const AttentionProblem<T>& problem, T* mean);

// Gradient buffers of one problem. dq, dk or dv with null data is not required.
template <class T>
struct AttentionGradients {
  Heads<const T> doutput;
  const T* dlse;  // (B, H, T), or null
  Heads<T> dq, dk, dv;
  T* dsinks;    // (B, H), or null: to be summed over B
  T* delta;     // (B, H, T): scratch
  T* dq_parts;  // (attention_key_chunks() - 1, B, H, T, D): scratch
};

// Number of chunks of keys in the backward of a single problem, which gives several threads work if
// batch and heads are few. 1 if a hook has a backward: it may accumulate gradients.
template <class T>
int64_t attention_key_chunks(const AttentionProblem<T>& problem);

// Each required gradient is overwritten.
template <class T>
void attention_backward(std::span<const AttentionProblem<T>> problems,
                        std::span<const AttentionGradients<T>> gradients);

// Bytes of scratch memory per thread in the backward, in addition to the above; the forward of more
// than a few queries takes less.
template <class T>
int64_t attention_scratch_bytes(const AttentionProblem<T>& problem);

// ---- One build per instruction set (attention_simd.cpp) ----------------------------------------

// A strip is `width` adjacent queries: scores[i * stride + j] belongs to key i and query j. Masked
// scores are -inf. `stride` counts elements.
template <class T>
struct AttentionLoops {
  int64_t width;

  // Adds n keys to the running softmax of a strip: scores become exp(score - top), times drop[i *
  // width + j] if not null; top and total (width) are updated; `shrink` receives the factor for
  // earlier sums. False if all factors are 1.
  bool (*softmax)(int64_t n, const T* drop, T* scores, int64_t stride, T* top, T* total, T* shrink);

  // Turns scores and dweights into weights (times drop) and the derivatives by the scores:
  // p = exp(score - lse), ds = p (dweight drop - delta).
  void (*gradients)(int64_t n, const T* drop, const T* lse, const T* delta, T* scores, T* dweights,
                    int64_t stride);

  // sum += exp(score - lse) for the keys of a strip; a score of -inf adds nothing, even if lse is
  // NaN.
  void (*add_weights)(int64_t n, const T* lse, const T* scores, int64_t stride, T* sum,
                      int64_t sum_stride);

  // -inf for keys outside of the queries' [begin, end), counted from the first row.
  void (*keep_between)(int64_t n, const int64_t* begin, const int64_t* end, T* scores,
                       int64_t stride);
  // -inf where the table, or the ids, mask a key; for the first `queries` of a strip.
  void (*keep_table)(int64_t n, int64_t queries, const bool* table, int64_t t_stride,
                     int64_t s_stride, T* scores, int64_t stride);
  void (*keep_ids)(int64_t n, int64_t queries, const int64_t* query, const int64_t* key, T* scores,
                   int64_t stride);

  // drop[i * width + j]: 0 or `kept`, depending on word 4 (block + i * blocks_per_key) + j.
  void (*dropout)(int64_t n, const PhiloxOrigin& origin, uint64_t block, uint64_t blocks_per_key,
                  int32_t threshold, T kept, T* drop);

  // lse = top + log(total), or -inf.
  void (*logsumexp)(int64_t n, const T* top, const T* total, T* lse);
  void (*scale)(int64_t n, T factor, const T* x, T* y);  // y = factor x
  void (*add)(int64_t n, const T* x, T* y);              // y += x
  T (*dot)(int64_t n, const T* a, const T* b);
  bool (*all_finite)(int64_t n, const T* x);

  // For few queries, whose scores are stored by rows. exp(score - top) in place; on entry top is
  // the sink's logit or -inf. Returns the sum, including the sink's term.
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
