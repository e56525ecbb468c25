// The feed-forward network of a Transformer layer for a few rows, in one pass over its weights.
//
// M rows, C width, F hidden units.
#pragma once

#include <fovea/core/kernels/map.h>

#include <cstdint>

namespace fovea::kernels {

// y = W2 h + b2,  h = f(W1 x + b1), or with W3: h = f(W1 x + b1) (W3 x + b3)
template <class T>
struct FeedForwardProblem {
  int64_t M, C, F;
  Unary f;
  const T* x;                  // (M, C)
  const T *w1, *b1, *w3, *b3;  // w1, w3: (F, C), b1, b3: (F); all but w1 may be null
  const T *w2, *b2;            // (C, F), (C) or null
  T* y;                        // (M, C)
};

// Hidden units are split into tasks, whose partial sums of y are added in order: both matrices are
// read and the activation is computed without a barrier in between.
template <class T>
void feed_forward(const FeedForwardProblem<T>& problem);

}  // namespace fovea::kernels
