#include <fovea/core/kernels/score_mod.h>
#include <fovea/core/kernels/vecmath.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// A bias is stored as (queries, keys), the tile as (keys, queries). Blocks of this size keep the
// cache lines in use in the cache.
constexpr int64_t kBlock = 16;

template <class T>
void add_bias(const ScoreTile<T>& tile, const T* x, int64_t t_stride, int64_t s_stride) {
  for (int64_t j0 = 0; j0 < tile.queries; j0 += kBlock) {
    const int64_t width = tile.queries - j0 < kBlock ? tile.queries - j0 : kBlock;
    for (int64_t i = 0; i < tile.keys; ++i) {
      T* scores = tile.scores + i * tile.stride + j0;
      const T* from = x + j0 * t_stride + i * s_stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) scores[j] += from[j * t_stride];
    }
  }
}

template <class T>
void sum_bias(const ScoreTile<T>& tile, const T* ds, T* dx, int64_t t_stride, int64_t s_stride) {
  for (int64_t j0 = 0; j0 < tile.queries; j0 += kBlock) {
    const int64_t width = tile.queries - j0 < kBlock ? tile.queries - j0 : kBlock;
    if (t_stride == 0) {  // all queries share one element
      for (int64_t i = 0; i < tile.keys; ++i) {
        T sum = 0;
        for (int64_t j = 0; j < width; ++j) sum += ds[i * tile.stride + j0 + j];
        dx[i * s_stride] += sum;
      }
    } else if (s_stride == 0) {  // all keys do: a sum for each query, added once
      T sums[kBlock] = {};
      for (int64_t i = 0; i < tile.keys; ++i)
        for (int64_t j = 0; j < width; ++j) sums[j] += ds[i * tile.stride + j0 + j];
      for (int64_t j = 0; j < width; ++j) dx[(j0 + j) * t_stride] += sums[j];
    } else {
      for (int64_t i0 = 0; i0 < tile.keys; i0 += kBlock) {
        const int64_t height = tile.keys - i0 < kBlock ? tile.keys - i0 : kBlock;
        for (int64_t j = 0; j < width; ++j) {
          const T* from = ds + i0 * tile.stride + j0 + j;
          T* to = dx + (j0 + j) * t_stride + i0 * s_stride;
#pragma omp simd
          for (int64_t i = 0; i < height; ++i) to[i * s_stride] += from[i * tile.stride];
        }
      }
    }
  }
}

template <class T>
void add_line(const ScoreTile<T>& tile, const T* x) {
  for (int64_t i = 0; i < tile.keys; ++i) {
    T* scores = tile.scores + i * tile.stride;
    const T* from = x - i;
#pragma omp simd
    for (int64_t j = 0; j < tile.queries; ++j) scores[j] += from[j];
  }
}

template <class T>
void sum_line(const ScoreTile<T>& tile, const T* ds, T* dx) {
  for (int64_t i = 0; i < tile.keys; ++i) {
    const T* from = ds + i * tile.stride;
    T* to = dx - i;
#pragma omp simd
    for (int64_t j = 0; j < tile.queries; ++j) to[j] += from[j];
  }
}

template <class T>
void soft_cap(const ScoreTile<T>& tile, T cap) {
  const T inverse = 1 / cap;
  for (int64_t i = 0; i < tile.keys; ++i) {
    T* scores = tile.scores + i * tile.stride;
#pragma omp simd
    for (int64_t j = 0; j < tile.queries; ++j) scores[j] = cap * tanh(scores[j] * inverse);
  }
}

template <class T>
void soft_cap_backward(const ScoreTile<T>& tile, T cap, T* ds) {
  const T inverse = 1 / cap;
  for (int64_t i = 0; i < tile.keys; ++i) {
    const T* scores = tile.scores + i * tile.stride;
    T* d = ds + i * tile.stride;
#pragma omp simd
    for (int64_t j = 0; j < tile.queries; ++j) {
      const T y = tanh(scores[j] * inverse);
      d[j] = d[j] == 0 ? T{0} : d[j] * (1 - y * y);  // masked: the score may be anything
    }
  }
}

template <class T>
constexpr ScoreModLoops<T> loops = {add_bias<T>, sum_bias<T>, add_line<T>,
                                    sum_line<T>, soft_cap<T>, soft_cap_backward<T>};

}  // namespace

extern const ScoreModTable score_mod_table;
const ScoreModTable score_mod_table = {loops<float>, loops<double>};

}  // namespace fovea::kernels::FOVEA_ISA
