// The inner loops of the matrix product, built once per instruction set (gemm_simd.cpp): one table
// of functions per element type, used by gemm.cpp.
//
// C is computed in tiles of at most tile_rows x tile_cols, held in registers. B is read in strips
// of tile_cols columns: element (k, j) of a strip is b[k * b_stride + j].
#pragma once

#include <cstdint>

namespace fovea::kernels {

// C = alpha A B + beta C + bias for one tile of `tile_cols` columns:   A: (rows, K)  B: (K, cols)
// beta = 0 does not read C; bias (cols) may be null.
template <class T>
struct TileJob {
  int64_t K;
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t b_stride;
  T* c;
  int64_t c_stride;
  T alpha;
  T beta;
  const T* bias;
};

template <class T>
struct GemmKernels {
  static constexpr int64_t max_tile_rows = 14;
  static constexpr int64_t max_tile_cols = 128 / static_cast<int64_t>(sizeof(T));

  int64_t tile_rows;
  int64_t tile_cols;

  // Entry r computes a tile of r + 1 rows. A(i, k) = a[i * a_stride + k] in `rows_of_a`, and
  // a[k * a_stride + i] in `columns_of_a`.
  void (*rows_of_a[max_tile_rows])(const TileJob<T>&);
  void (*columns_of_a[max_tile_rows])(const TileJob<T>&);

  // C = tile + beta C + bias for the first `cols` columns of a tile that is wider than C.
  void (*merge)(int64_t rows, int64_t cols, const T* tile, int64_t tile_stride, T beta,
                const T* bias, T* c, int64_t c_stride);

  // to(i, j) = from(i, j), with the rows of `to` padded with zeros to `padded` >= cols elements.
  void (*copy)(int64_t rows, int64_t cols, const T* from, int64_t from_stride, T* to,
               int64_t padded);

  // Splits a matrix into panels of `height` columns, each with rows `padded` elements apart:
  // panel p: to(p rows + i, j) = from(i, p height + j).
  void (*copy_columns)(int64_t rows, int64_t cols, int64_t height, const T* from,
                       int64_t from_stride, T* to, int64_t padded);

  // strip(k, j) = b[j * b_stride + k]: a strip of B from transposed storage, columns past `cols`
  // filled with zeros.
  void (*pack_transposed)(int64_t K, int64_t cols, const T* b, int64_t b_stride, T* strip);

  // C = alpha A B^T + beta C + bias by dot products of rows:   A: (M, K)  B: (N, K). For few rows.
  void (*dots)(int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t a_stride, const T* b,
               int64_t b_stride, T beta, const T* bias, T* c, int64_t c_stride);
};

struct GemmTable {
  GemmKernels<float> f32;
  GemmKernels<double> f64;
};

namespace baseline {
extern const GemmTable gemm_table;
}
namespace v3 {
extern const GemmTable gemm_table;
}
namespace v4 {
extern const GemmTable gemm_table;
}

}  // namespace fovea::kernels
