// The inner loops of the matrix product, in compiler vector extensions. After Goto and van de
// Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), and Van Zee and van de Geijn,
// "BLIS" (2015). Arrays of vectors are kept in registers only if the loops over them are fully
// unrolled.
#include <fovea/core/kernels/gemm_dots.h>
#include <fovea/core/kernels/gemm_kernels.h>

#include <algorithm>
#include <utility>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// R x 2 accumulators, 2 vectors of B and one spare: 14 x 2 of 32 AVX-512 registers, 6 x 2 of 16 AVX
// registers; without FMA a product needs its own register.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kTileRows = 14;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kTileRows = 6;
#else
constexpr int kVectorBytes = 16, kTileRows = 6;
#endif
constexpr int kTileVectors = 2;

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kTileCols = kTileVectors* kLanes<T>;

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, kVectorBytes);
  return v;
}

template <class T>
inline void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, kVectorBytes);
}

// The inner loop: per k, one row of B's strip in two vectors, times each of A's R elements.
template <class T, int R, bool kRowsOfA>
void tile(const TileJob<T>& job) {
  Vec<T> sum[R][kTileVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) sum[r][v] = Vec<T>{};

  const int64_t K = job.K, a_stride = job.a_stride, b_stride = job.b_stride;
  const T* a = job.a;
  const T* b = job.b;
  for (int64_t k = 0; k < K; ++k) {
    Vec<T> row[kTileVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) row[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T factor = kRowsOfA ? a[r * a_stride] : a[r];
#pragma GCC unroll 16
      for (int v = 0; v < kTileVectors; ++v) sum[r][v] += factor * row[v];
    }
    a += kRowsOfA ? 1 : a_stride;
    b += b_stride;
  }

#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    T* c = job.c + r * job.c_stride;
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) {
      const int j = v * kLanes<T>;
      Vec<T> y = job.alpha * sum[r][v];
      if (job.beta != 0) y += job.beta * load(c + j);
      if (job.bias) y += load(job.bias + j);
      store(c + j, y);
    }
  }
}

template <class T>
void merge(int64_t rows, int64_t cols, const T* tile, int64_t tile_stride, T beta, const T* bias,
           T* c, int64_t c_stride) {
  for (int64_t i = 0; i < rows; ++i, tile += tile_stride, c += c_stride) {
    for (int64_t j = 0; j < cols; ++j) {
      T y = tile[j];
      if (beta != 0) y += beta * c[j];
      if (bias) y += bias[j];
      c[j] = y;
    }
  }
}

// n elements in chunks of kBytes, the last one overlapping the previous one; shorter rows in
// halves.
template <class T, int kBytes>
inline void copy_row(int64_t n, const T* from, T* to) {
  constexpr int64_t kWidth = kBytes / static_cast<int64_t>(sizeof(T));
  if constexpr (kWidth <= 1) {
    if (n == 1) *to = *from;
  } else if (n >= kWidth) {
    for (int64_t i = 0; i + kWidth <= n; i += kWidth) __builtin_memcpy(to + i, from + i, kBytes);
    __builtin_memcpy(to + n - kWidth, from + n - kWidth, kBytes);
  } else {
    copy_row<T, kBytes / 2>(n, from, to);
  }
}

template <class T>
void copy(int64_t rows, int64_t cols, const T* from, int64_t from_stride, T* to, int64_t padded) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += padded) {
    copy_row<T, kVectorBytes>(cols, from, to);
    for (int64_t j = cols; j < padded; ++j) to[j] = 0;
  }
}

template <class T>
void copy_columns(int64_t rows, int64_t cols, int64_t height, const T* from, int64_t from_stride,
                  T* to, int64_t padded) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), ahead = 5;
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += padded) {
    // Rows are often in different pages, out of reach of the hardware prefetcher. Only a few ahead,
    // since rows a page apart share the ways of one set of L1.
    for (int64_t j = 0; i + ahead < rows && j < cols; j += line)
      __builtin_prefetch(from + ahead * from_stride + j);
    T* panel = to;
    for (int64_t j = 0; j < cols; j += height, panel += rows * padded)
      copy_row<T, kVectorBytes>(std::min(height, cols - j), from + j, panel);
  }
}

// a0 b0 a1 b1 ... : the first (kHigh = 0) or second half of a and b interleaved.
template <int kHigh, class V, int... I>
inline V interleave(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (kHigh * n / 2 + I / 2 + (I % 2) * n)...);
}

// Transposes the n x n matrix in v by log2(n) perfect shuffles of its rows.
template <class T>
inline void transpose(Vec<T> (&v)[kLanes<T>]) {
  constexpr int n = kLanes<T>;
  using Lanes = std::make_integer_sequence<int, n>;
#pragma GCC unroll 16
  for (int step = 1; step < n; step *= 2) {
    Vec<T> w[n];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) {
      w[2 * i] = interleave<0>(v[i], v[i + n / 2], Lanes{});
      w[2 * i + 1] = interleave<1>(v[i], v[i + n / 2], Lanes{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) v[i] = w[i];
  }
}

// One vector's width of a strip, K >= lanes. The last block overlaps the previous one.
template <class T>
inline void pack_transposed_lanes(int64_t K, int64_t cols, const T* b, int64_t b_stride, T* strip) {
  constexpr int n = kLanes<T>;
  for (int64_t next = 0; next < K; next += n) {
    const int64_t k = next + n <= K ? next : K - n;
    Vec<T> block[n];
#pragma GCC unroll 16
    for (int j = 0; j < n; ++j) block[j] = j < cols ? load(b + j * b_stride + k) : Vec<T>{};
    transpose<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) store(strip + (k + i) * kTileCols<T>, block[i]);
  }
}

template <class T>
void pack_transposed(int64_t K, int64_t cols, const T* b, int64_t b_stride, T* strip) {
  if (K < kLanes<T>) {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t j = 0; j < kTileCols<T>; ++j)
        strip[k * kTileCols<T> + j] = j < cols ? b[j * b_stride + k] : T{0};
    return;
  }
  for (int64_t j = 0; j < kTileCols<T>; j += kLanes<T>)
    pack_transposed_lanes(K, cols - j, b + j * b_stride, b_stride, strip + j);
}

template <class T, int... R>
constexpr GemmKernels<T> kernels_for(std::integer_sequence<int, R...>) {
  return {.tile_rows = kTileRows,
          .tile_cols = kTileCols<T>,
          .rows_of_a = {tile<T, R + 1, true>...},
          .columns_of_a = {tile<T, R + 1, false>...},
          .merge = merge<T>,
          .copy = copy<T>,
          .copy_columns = copy_columns<T>,
          .pack_transposed = pack_transposed<T>,
          .dots = dots};
}

using TileHeights = std::make_integer_sequence<int, kTileRows>;

}  // namespace

extern const GemmTable gemm_table = {.f32 = kernels_for<float>(TileHeights{}),
                                     .f64 = kernels_for<double>(TileHeights{})};

}  // namespace fovea::kernels::FOVEA_ISA
