// One task of a matrix product: a block of C, computed tile by tile on the calling thread.
#pragma once

#include <fovea/core/kernels/gemm_kernels.h>
#include <fovea/core/kernels/gemm_memory.h>

#include <algorithm>
#include <cstdint>

namespace fovea::kernels {

constexpr int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

// The length of each part when n is split into the fewest even parts of at most `longest`.
constexpr int64_t even_part(int64_t n, int64_t longest) {
  return ceil_div(n, ceil_div(n, longest));
}

// A matrix, and the strides of op(matrix)(i, j).
template <class T>
struct Operand {
  const T* data;
  int64_t stride;
  bool transposed;

  const T* at(int64_t i, int64_t j) const {
    return transposed ? data + j * stride + i : data + i * stride + j;
  }
};

// C = alpha A B + beta C + bias; everything except B.
template <class T>
struct Product {
  const GemmKernels<T>& kernels;
  int64_t M, N, K;
  T alpha;
  Operand<T> a;
  T beta;
  T* c;
  int64_t c_stride;
  const T* bias;
};

// B in strips of tile_cols columns: strip s starts at data + s * step. A narrower last strip is at
// `tail`, padded with zeros, with rows tile_cols apart.
template <class T>
struct Strips {
  const T* data;
  int64_t step;
  int64_t k_stride;
  const T* tail;
};

// Loops, outermost first: parts of K (so that a tile's rows of A stay in L1), groups of strips
// (that stay in L2), rows of tiles, tiles.
template <class T>
class Block {
 public:
  Block(const Product<T>& product, const Strips<T>& strips) : p_(product), b_(strips) {}

  // Rows [row, row_end) of C in the columns of strips [strip, strip_end).
  void run(int64_t row, int64_t row_end, int64_t strip, int64_t strip_end) {
    const int64_t depth = even_part(p_.K, kDepth);
    const int64_t height = even_part(row_end - row, p_.kernels.tile_rows);
    const int64_t strip_bytes = depth * p_.kernels.tile_cols * static_cast<int64_t>(sizeof(T));
    const int64_t group = std::max<int64_t>(1, kGroupBytes / strip_bytes);
    for (k_ = 0; k_ < p_.K; k_ += depth) {
      depth_ = std::min(depth, p_.K - k_);
      stage_columns(row, row_end, height, std::min(strip_end - strip, group));
      for (int64_t s = strip; s < strip_end; s += group)
        for (int64_t i = row; i < row_end; i += height)
          row_of_tiles(i, std::min(height, row_end - i), (i - row) / height, s,
                       std::min(strip_end, s + group));
    }
  }

 private:
  using Compute = void (*)(const TileJob<T>&);

  // Measured on AVX-512 processors with 1 MiB of L2.
  static constexpr int64_t kDepth = 1536 / static_cast<int64_t>(sizeof(T));
  static constexpr int64_t kGroupBytes = 512 * 1024;
  static constexpr int64_t kPageBytes = 4096;
  static constexpr int64_t kMaxRows = GemmKernels<T>::max_tile_rows;
  static constexpr int64_t kMaxCols = GemmKernels<T>::max_tile_cols;

  void row_of_tiles(int64_t i, int64_t rows, int64_t number, int64_t strip, int64_t strip_end) {
    const Operand<T> a = columns_
                             ? Operand<T>{columns_ + number * kMaxRows * depth_, kMaxRows, true}
                             : stage_rows(i, rows, strip_end - strip);
    const Compute compute =
        (a.transposed ? p_.kernels.columns_of_a : p_.kernels.rows_of_a)[rows - 1];
    const T* bias = k_ + depth_ == p_.K ? p_.bias : nullptr;
    for (int64_t s = strip; s < strip_end; ++s) {
      const int64_t j = s * p_.kernels.tile_cols;
      const TileJob<T> job{.K = depth_,
                           .a = a.data,
                           .a_stride = a.stride,
                           .b = b_.data + s * b_.step + k_ * b_.k_stride,
                           .b_stride = b_.k_stride,
                           .c = p_.c + i * p_.c_stride + j,
                           .c_stride = p_.c_stride,
                           .alpha = p_.alpha,
                           .beta = k_ == 0 ? p_.beta : T{1},
                           .bias = bias ? bias + j : nullptr};
      if (j + p_.kernels.tile_cols <= p_.N) {
        compute(job);
      } else {
        tail_tile(compute, job, rows, p_.N - j);
      }
    }
  }

  // A tile wider than the rest of C is computed in a buffer.
  void tail_tile(Compute compute, const TileJob<T>& job, int64_t rows, int64_t cols) {
    const int64_t width = p_.kernels.tile_cols;
    alignas(64) T tile[kMaxRows * kMaxCols];
    TileJob<T> aside = job;
    aside.b = b_.tail + k_ * width;
    aside.b_stride = width;
    aside.c = tile;
    aside.c_stride = width;
    aside.beta = 0;
    aside.bias = nullptr;
    compute(aside);
    p_.kernels.merge(rows, cols, tile, width, job.beta, job.bias, job.c, job.c_stride);
  }

  // If several strips read A with a bad stride, A is copied first. Columns are a cache line or page
  // apart: those of all rows of tiles are copied together, since tiles share lines and pages.
  void stage_columns(int64_t row, int64_t row_end, int64_t height, int64_t strips) {
    columns_ = nullptr;
    if (strips <= 2 || !p_.a.transposed) return;
    thread_local GemmMemory<T> memory;
    columns_ = memory.reserve(ceil_div(row_end - row, height) * kMaxRows * depth_);
    p_.kernels.copy_columns(depth_, row_end - row, height, p_.a.at(row, k_), p_.a.stride, columns_,
                            kMaxRows);
  }

  // Rows a multiple of a page apart map to the same few sets of L1.
  Operand<T> stage_rows(int64_t i, int64_t rows, int64_t strips) {
    const Operand<T> a{p_.a.at(i, k_), p_.a.stride, p_.a.transposed};
    const bool worst = a.stride * static_cast<int64_t>(sizeof(T)) % kPageBytes == 0;
    if (strips <= 2 || a.transposed || !worst) return a;
    p_.kernels.copy(rows, depth_, a.data, a.stride, staged_, depth_);
    return {staged_, depth_, false};
  }

  const Product<T>& p_;
  const Strips<T>& b_;
  int64_t k_ = 0, depth_ = 0;
  T* columns_ = nullptr;  // A's, one row of tiles after another
  alignas(64) T staged_[kMaxRows * kDepth];
};

}  // namespace fovea::kernels
