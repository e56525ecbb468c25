#include <fovea/core/kernels/index.h>
#include <fovea/core/kernels/parallel.h>

#include <algorithm>

namespace fovea::kernels {
namespace {

// Fewer elements than this do not justify starting a second thread.
constexpr int64_t parallel_grain = 16384;

// Columns that a thread processes at once: 64 floats are four whole cache lines.
constexpr int64_t column_tile = 64;

// Calls f(outer, first column, end column) for tiles of columns, on several threads; each tile
// processes all `count` indices.
template <class F>
void for_column_tiles(const IndexSizes& s, const F& f) {
  const int64_t tiles = chunk_count(s.inner, column_tile);
  const int64_t numbers = s.count * std::min(s.inner, column_tile);
  const int64_t grain = std::max<int64_t>(1, parallel_grain / std::max<int64_t>(1, numbers));
  parallel_for(s.outer * tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % tiles * column_tile;
      f(i / tiles, first, std::min(s.inner, first + column_tile));
    }
  });
}

}  // namespace

int64_t first_outside(const int64_t* index, int64_t n, int64_t size) {
  const int64_t* const at =
      std::find_if(index, index + n, [size](int64_t i) { return i < 0 || i >= size; });
  return at == index + n ? -1 : at - index;
}

template <class T>
void select_rows(const T* x, const int64_t* index, IndexSizes s, T* y) {
  const int64_t rows = s.inner == 0 ? 0 : s.outer * s.count;  // empty rows may be 2^48
  const int64_t grain = std::max<int64_t>(1, parallel_grain / std::max<int64_t>(1, s.inner));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t from = row / s.count * s.size + index[row % s.count];
      std::copy_n(x + from * s.inner, s.inner, y + row * s.inner);
    }
  });
}

template <class T>
void add_rows(const T* y, const int64_t* index, IndexSizes s, int64_t skip, T* x) {
  for_column_tiles(s, [&](int64_t outer, int64_t first, int64_t end) {
    for (int64_t m = 0; m < s.count; ++m) {
      if (index[m] == skip) continue;
      const T* const from = y + (outer * s.count + m) * s.inner;
      T* const to = x + (outer * s.size + index[m]) * s.inner;
#pragma omp simd
      for (int64_t j = first; j < end; ++j) to[j] += from[j];
    }
  });
}

template <class T>
void gather(const T* x, const int64_t* index, IndexSizes s, T* y) {
  for_column_tiles(s, [&](int64_t outer, int64_t first, int64_t end) {
    for (int64_t m = 0; m < s.count; ++m) {
      const int64_t row = (outer * s.count + m) * s.inner;
      for (int64_t j = first; j < end; ++j)
        y[row + j] = x[(outer * s.size + index[row + j]) * s.inner + j];
    }
  });
}

template <class T>
void scatter_add(const T* y, const int64_t* index, IndexSizes s, T* x) {
  for_column_tiles(s, [&](int64_t outer, int64_t first, int64_t end) {
    for (int64_t m = 0; m < s.count; ++m) {
      const int64_t row = (outer * s.count + m) * s.inner;
      for (int64_t j = first; j < end; ++j)
        x[(outer * s.size + index[row + j]) * s.inner + j] += y[row + j];
    }
  });
}

#define FOVEA_INDEX(T)                                                 \
  template void select_rows(const T*, const int64_t*, IndexSizes, T*); \
  template void gather(const T*, const int64_t*, IndexSizes, T*);
FOVEA_INDEX(float)
FOVEA_INDEX(double)
FOVEA_INDEX(int64_t)
FOVEA_INDEX(bool)
#undef FOVEA_INDEX

#define FOVEA_INDEX_ADD(T)                                                   \
  template void add_rows(const T*, const int64_t*, IndexSizes, int64_t, T*); \
  template void scatter_add(const T*, const int64_t*, IndexSizes, T*);
FOVEA_INDEX_ADD(float)
FOVEA_INDEX_ADD(double)
FOVEA_INDEX_ADD(int64_t)
#undef FOVEA_INDEX_ADD

}  // namespace fovea::kernels
