// Modifications of attention's scores, one tile at a time: the built-in ones of
// core/ops/score_mod.h.
//
// A tile's scores are stored as (keys, queries), see ScoreTile; `dscores` likewise. hook_of()
// returns functions that read their argument, which must outlive the hook; if the backward does
// nothing, the hook has no function for it.
#pragma once

#include <fovea/core/kernels/attention.h>

namespace fovea::kernels {

// scores(b, h, t, s) += bias(b, h, t, s). Strides are 0 where an axis is broadcast.
template <class T>
struct BiasMod {
  const T* bias;
  int64_t b_stride, h_stride, t_stride, s_stride;
  T* grad;  // null: not required
  int64_t grad_b_stride, grad_h_stride, grad_t_stride, grad_s_stride;
};

// scores(b, h, t, s) += factor[x] values(b, h, index[x]), x = t - s + S - 1: a term that depends on
// the distance only.
template <class T>
struct DistanceMod {
  int64_t S;
  const T* line;  // (b, h, x): factor[x] values(b, h, index[x])
  int64_t b_stride, h_stride;
  const T* factor;       // (T + S - 1)
  const int64_t* index;  // (T + S - 1)
  T* grad;               // by values; null: not required
  int64_t grad_b_stride, grad_h_stride;
};

// scores(b, h, t, s) += values(b, h, t, c), c = clip(s - t - shift, -reach, reach) + reach: a
// separate term per query. Rows of values are dense, 2 reach + 1 long.
template <class T>
struct ClippedMod {
  int64_t reach, shift;
  const T* values;
  int64_t b_stride, h_stride, t_stride;
  T* grad;
  int64_t grad_b_stride, grad_h_stride, grad_t_stride;
};

// scores = cap tanh(scores / cap)
template <class T>
struct SoftCapMod {
  T cap;
};

// Applies the first, then the second.
template <class T>
struct ChainMod {
  ScoreHook<T> first, next;
};

template <class T>
ScoreHook<T> hook_of(const BiasMod<T>& mod);
template <class T>
ScoreHook<T> hook_of(const DistanceMod<T>& mod);
template <class T>
ScoreHook<T> hook_of(const ClippedMod<T>& mod);
template <class T>
ScoreHook<T> hook_of(const SoftCapMod<T>& mod);
template <class T>
ScoreHook<T> hook_of(const ChainMod<T>& mod);

// ---- One build per instruction set (score_mod_simd.cpp) ----------------------------------------

template <class T>
struct ScoreModLoops {
  // scores[i][j] += x[j t_stride + i s_stride], and its gradient
  void (*add_bias)(const ScoreTile<T>& tile, const T* x, int64_t t_stride, int64_t s_stride);
  void (*sum_bias)(const ScoreTile<T>& tile, const T* ds, T* dx, int64_t t_stride,
                   int64_t s_stride);
  // scores[i][j] += x[j - i], and its gradient
  void (*add_line)(const ScoreTile<T>& tile, const T* x);
  void (*sum_line)(const ScoreTile<T>& tile, const T* ds, T* dx);
  void (*soft_cap)(const ScoreTile<T>& tile, T cap);
  void (*soft_cap_backward)(const ScoreTile<T>& tile, T cap, T* ds);
};

struct ScoreModTable {
  ScoreModLoops<float> f32;
  ScoreModLoops<double> f64;
};

namespace baseline {
extern const ScoreModTable score_mod_table;
}
namespace v3 {
extern const ScoreModTable score_mod_table;
}
namespace v4 {
extern const ScoreModTable score_mod_table;
}

}  // namespace fovea::kernels
