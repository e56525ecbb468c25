// Self-attention for one decoder step, one token per batch row: projections, the cache of keys and
// values, and the output projection, in one pass over the weights.
//
// B batch rows, C width, H query heads, G key/value heads, D head width.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// Keys and values of the tokens so far; token m of a row is in slot m % slots.
template <class T>
struct StepCache {
  T *keys, *values;  // (B, G, slots, D), dense rows
  int64_t b_stride, g_stride, slots;
  int64_t first;  // slot of the oldest attended key
  int64_t count;  // number of attended keys, the new one last
};

// Pairs rotated by the new token's position, as in rope.h.
template <class T>
struct StepRope {
  const T* table;  // (2, pairs): cosines, sines; null: no rotation
  int64_t pairs, pair_stride, other;
};

template <class T>
struct AttentionStepProblem {
  int64_t B, C, H, G, D;
  T scale;
  const T* x;                               // (B, C)
  const T *q_weight, *k_weight, *v_weight;  // (H D, C), (G D, C), (G D, C)
  const T *q_bias, *k_bias, *v_bias;        // (H D), (G D), (G D), or null
  const T *out_weight, *out_bias;           // (C, H D), (C) or null
  StepRope<T> rope;
  StepCache<T> cache;
  T* y;  // (B, C)
};

// Key heads, each with its query heads, are split into tasks, whose partial sums of y are added in
// order.
template <class T>
void attention_step(const AttentionStepProblem<T>& problem);

}  // namespace fovea::kernels
