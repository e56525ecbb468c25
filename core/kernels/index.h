// Gathering and adding by index. Every index must be in range, see first_outside(). Blocks are
// dense and row-major; T is float, double, int64_t or bool, and float, double or int64_t for
// additions.
//
// Repeated indices add up in the order of the indices, for any number of threads: threads share the
// columns, and each processes all indices.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// The position of the first index outside [0, size), or -1.
int64_t first_outside(const int64_t* index, int64_t n, int64_t size);

// The indexed axis is the middle one: it has `size` elements in the indexed block, and `count` in
// the block with one row (or element) per index.
struct IndexSizes {
  int64_t outer, size, count, inner;
};

// y[o, m, :] = x[o, index[m], :]
//   x: (outer, size, inner)  index: (count)  ->  y: (outer, count, inner)
template <class T>
void select_rows(const T* x, const int64_t* index, IndexSizes sizes, T* y);

// x[o, index[m], :] += y[o, m, :], skipping every m with index[m] == skip.    shapes as above
template <class T>
void add_rows(const T* y, const int64_t* index, IndexSizes sizes, int64_t skip, T* x);

// y[o, m, j] = x[o, index[o, m, j], j]    x: (outer, size, inner)  index, y: (outer, count, inner)
template <class T>
void gather(const T* x, const int64_t* index, IndexSizes sizes, T* y);

// x[o, index[o, m, j], j] += y[o, m, j]    shapes as above
template <class T>
void scatter_add(const T* y, const int64_t* index, IndexSizes sizes, T* x);

}  // namespace fovea::kernels
