// Matrix products: B is packed into strips, then blocks of C are the tasks.
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/gemm_block.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>

#include <algorithm>

namespace fovea::kernels {
namespace {

// All measured; with each of them, results are bitwise independent of the number of threads.
constexpr int64_t kNaiveProducts = 128;           // up to here plain loops are faster
constexpr int64_t kFewRows = 12;                  // up to here dot products beat packing B^T
constexpr int64_t kDotRows = 4;                   // that share each load of B in dot products
constexpr int64_t kProductsPerTask = 256 * 1024;  // multiply-adds that justify a task
constexpr int64_t kTasks = 16;                    // enough for an even distribution
constexpr int64_t kTilesPerTask = 8;              // rows of tiles that use a group of strips
constexpr int64_t kElementsPerPackTask = 32 * 1024;
constexpr int64_t kPackedRows = 4096;  // of B at a time
constexpr int64_t kPackedElements = 1024 * 1024;

template <class T>
const GemmKernels<T>& active_kernels() {
  const GemmTable& table = pick(baseline::gemm_table, v3::gemm_table, v4::gemm_table);
  if constexpr (sizeof(T) == sizeof(float)) {
    return table.f32;
  } else {
    return table.f64;
  }
}

// f(begin, end) over [0, n), on this thread only or in parallel.
template <class F>
void share(bool parallel, int64_t n, int64_t grain, F f) {
  if (parallel) {
    parallel_for(n, grain, f);
  } else if (n > 0) {
    f(int64_t{0}, n);
  }
}

// C = beta C + bias: the result for K = 0 or alpha = 0.
template <class T>
void scale(const Product<T>& p) {
  for (int64_t i = 0; i < p.M; ++i) {
    T* c = p.c + i * p.c_stride;
    for (int64_t j = 0; j < p.N; ++j) {
      const T kept = p.beta == 0 ? T{0} : p.beta * c[j];
      c[j] = p.bias ? kept + p.bias[j] : kept;
    }
  }
}

template <class T>
void naive(const Product<T>& p, const Operand<T>& b) {
  // Copies, since the compiler must assume that writing C changes p.
  const Operand<T> a = p.a;
  const T alpha = p.alpha, beta = p.beta;
  const T* const bias = p.bias;
  const int64_t K = p.K, a_step = a.transposed ? a.stride : 1, b_step = b.transposed ? 1 : b.stride;
  for (int64_t i = 0; i < p.M; ++i) {
    for (int64_t j = 0; j < p.N; ++j) {
      const T *const row = a.at(i, 0), *const column = b.at(0, j);
      T sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += row[k * a_step] * column[k * b_step];
      T& c = p.c[i * p.c_stride + j];
      const T kept = beta == 0 ? T{0} : beta * c;
      c = alpha * sum + kept + (bias ? bias[j] : T{0});
    }
  }
}

// Strips [strip, strip_end) of B, each K x tile_cols, one after another.
template <class T>
void pack_strips(const GemmKernels<T>& kernels, int64_t K, int64_t N, const Operand<T>& b,
                 int64_t strip, int64_t strip_end, T* packed) {
  const int64_t width = kernels.tile_cols;
  for (int64_t s = strip; s < strip_end; ++s) {
    const int64_t j = s * width, cols = std::min(width, N - j);
    T* to = packed + s * width * K;
    if (b.transposed) {
      kernels.pack_transposed(K, cols, b.at(0, j), b.stride, to);
    } else {
      kernels.copy(K, cols, b.at(0, j), b.stride, to, width);
    }
  }
}

template <class T>
void pack_all(bool parallel, const GemmKernels<T>& kernels, int64_t K, int64_t N,
              const Operand<T>& b, T* packed) {
  const int64_t width = kernels.tile_cols;
  const int64_t grain = std::max<int64_t>(1, kElementsPerPackTask / (width * K));
  share(parallel, ceil_div(N, width), grain, [&](int64_t strip, int64_t strip_end) {
    pack_strips(kernels, K, N, b, strip, strip_end, packed);
  });
}

template <class T>
Strips<T> packed_strips(const GemmKernels<T>& kernels, int64_t K, int64_t N, const T* packed) {
  const int64_t width = kernels.tile_cols;
  return {packed, width * K, width, packed + N / width * width * K};
}

// Blocks of C as tasks: rows are split first, columns only if there are too few tasks, since each
// task copies its rows of A. If A is read by columns, which is slow, rows are split further
// instead.
template <class T>
void multiply(bool parallel, const Product<T>& p, const Strips<T>& b) {
  const int64_t strips = ceil_div(p.N, p.kernels.tile_cols);
  const int64_t wanted = std::clamp<int64_t>(p.M * p.N * p.K / kProductsPerTask, 1, kTasks);
  const int64_t tiles =
      p.a.transposed ? std::clamp<int64_t>(p.M / (wanted * p.kernels.tile_rows), 2, kTilesPerTask)
                     : kTilesPerTask;
  const int64_t rows = even_part(p.M, tiles * p.kernels.tile_rows);
  const int64_t row_parts = ceil_div(p.M, rows);
  const int64_t cols = ceil_div(strips, std::min(strips, ceil_div(wanted, row_parts)));
  const int64_t col_parts = ceil_div(strips, cols);
  share(parallel, row_parts * col_parts, 1, [&](int64_t task, int64_t end) {
    Block<T> block(p, b);
    for (; task < end; ++task) {
      const int64_t i = task / col_parts * rows, s = task % col_parts * cols;
      block.run(i, std::min(p.M, i + rows), s, std::min(strips, s + cols));
    }
  });
}

// Parts of B of packed size, one after another: the parts of K add up in C.
template <class T>
void pack_and_multiply(bool parallel, const Product<T>& p, const Operand<T>& b) {
  thread_local GemmMemory<T> memory;
  const int64_t width = p.kernels.tile_cols;
  const int64_t depth = even_part(p.K, kPackedRows);
  const int64_t cols = std::max<int64_t>(1, kPackedElements / (depth * width)) * width;
  for (int64_t j = 0; j < p.N; j += cols) {
    for (int64_t k = 0; k < p.K; k += depth) {
      Product<T> part = p;
      part.N = std::min(cols, p.N - j);
      part.K = std::min(depth, p.K - k);
      part.a.data = p.a.at(0, k);
      part.c = p.c + j;
      part.beta = k == 0 ? p.beta : T{1};
      part.bias = p.bias && k + depth >= p.K ? p.bias + j : nullptr;
      T* packed = memory.reserve(ceil_div(part.N, width) * width * part.K);
      const Operand<T> b_part{b.at(k, j), b.stride, b.transposed};
      pack_all(parallel, p.kernels, part.K, part.N, b_part, packed);
      multiply(parallel, part, packed_strips(p.kernels, part.K, part.N, packed));
    }
  }
}

// A single row of tiles uses each element of B once: B is read in place, except a last strip
// narrower than the tiles.
template <class T>
void multiply_in_place(bool parallel, const Product<T>& p, const Operand<T>& b) {
  thread_local GemmMemory<T> memory;
  const int64_t width = p.kernels.tile_cols, whole = p.N / width * width;
  T* tail = nullptr;
  if (whole < p.N) {
    tail = memory.reserve(width * p.K);
    p.kernels.copy(p.K, p.N - whole, b.at(0, whole), b.stride, tail, width);
  }
  multiply(parallel, p, Strips<T>{b.data, width, b.stride, tail});
}

template <class T>
void multiply_dots(bool parallel, const Product<T>& p, const Operand<T>& b) {
  // Bound by loading B, once per kDotRows rows; whole strips are the fastest.
  const int64_t width = p.kernels.tile_cols;
  const int64_t wanted = kProductsPerTask / (kDotRows * ceil_div(p.M, kDotRows) * p.K);
  const int64_t grain = std::max<int64_t>(1, wanted / width) * width;
  share(parallel, p.N, grain, [&](int64_t j, int64_t end) {
    p.kernels.dots(p.M, end - j, p.K, p.alpha, p.a.data, p.a.stride, b.at(0, j), b.stride, p.beta,
                   p.bias ? p.bias + j : nullptr, p.c + j, p.c_stride);
  });
}

template <class T>
void run(bool parallel, const Product<T>& p, const Operand<T>& b);

// C with one column, as C^T = B^T A^T: the kernels are faster on one row.
template <class T>
void run_column(bool parallel, const Product<T>& p, const Operand<T>& b) {
  const Operand<T> row{b.data, p.K, false};
  const Operand<T> columns{p.a.data, p.a.stride, !p.a.transposed};
  run(parallel, Product<T>{p.kernels, 1, p.M, p.K, p.alpha, row, p.beta, p.c, p.M, nullptr},
      columns);
  if (!p.bias) return;
  for (int64_t i = 0; i < p.M; ++i) p.c[i] += *p.bias;
}

template <class T>
void run(bool parallel, const Product<T>& p, const Operand<T>& b) {
  if (dry_run || p.M <= 0 || p.N <= 0) return;
  const FloatMode mode;
  const bool b_is_vector = b.transposed || b.stride == 1 || p.K == 1;
  if (p.K <= 0 || p.alpha == 0) {
    scale(p);
  } else if (p.M * p.N * p.K <= kNaiveProducts) {
    naive(p, b);
  } else if (p.N == 1 && p.M > 1 && p.c_stride == 1 && b_is_vector) {
    run_column(parallel, p, b);
  } else if (b.transposed && !p.a.transposed && std::min(p.M, p.N) <= kFewRows) {
    multiply_dots(parallel, p, b);
  } else if (!b.transposed && p.M <= p.kernels.tile_rows) {
    multiply_in_place(parallel, p, b);
  } else {
    pack_and_multiply(parallel, p, b);
  }
}

template <class T>
void run_packed(bool parallel, int64_t M, T alpha, const T* A, int64_t lda, const PackedB<T>& B,
                T beta, T* C, int64_t ldc, const T* bias) {
  const Product<T> p{B.kernels(),     M,    B.cols(), B.rows(), alpha,
                     {A, lda, false}, beta, C,        ldc,      bias};
  if (dry_run || M <= 0 || p.N <= 0) return;
  const FloatMode mode;
  if (p.K <= 0 || alpha == 0) {
    scale(p);
  } else {
    multiply(parallel, p, packed_strips(p.kernels, p.K, p.N, B.data()));
  }
}

// Splits a batch by products; a few large ones are split internally instead.
template <class F>
void for_batch(int64_t batch, int64_t products, F f) {
  if (batch < kTasks && products >= kProductsPerTask) {
    for (int64_t i = 0; i < batch; ++i) f(true, i);
    return;
  }
  const int64_t grain = std::max<int64_t>(1, kProductsPerTask / std::max<int64_t>(1, products));
  parallel_for(batch, grain, [&](int64_t i, int64_t end) {
    for (; i < end; ++i) f(false, i);
  });
}

constexpr bool is(Trans t) { return t == Trans::yes; }

}  // namespace

template <class T>
void gemm(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A, int64_t lda,
          const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const T* bias) {
  run<T>(true, {active_kernels<T>(), M, N, K, alpha, {A, lda, is(ta)}, beta, C, ldc, bias},
         {B, ldb, is(tb)});
}

template <class T>
void gemm_serial(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
                 int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const T* bias) {
  run<T>(false, {active_kernels<T>(), M, N, K, alpha, {A, lda, is(ta)}, beta, C, ldc, bias},
         {B, ldb, is(tb)});
}

template <class T>
void gemm_naive(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
                int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const T* bias) {
  const FloatMode mode;
  naive<T>({active_kernels<T>(), M, N, K, alpha, {A, lda, is(ta)}, beta, C, ldc, bias},
           {B, ldb, is(tb)});
}

template <class T>
void batched_gemm(int64_t batch, Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha,
                  const T* A, int64_t lda, int64_t a_step, const T* B, int64_t ldb, int64_t b_step,
                  T beta, T* C, int64_t ldc, int64_t c_step) {
  for_batch(batch, M * N * K, [&](bool parallel, int64_t i) {
    run<T>(parallel,
           {active_kernels<T>(),
            M,
            N,
            K,
            alpha,
            {A + i * a_step, lda, is(ta)},
            beta,
            C + i * c_step,
            ldc,
            nullptr},
           {B + i * b_step, ldb, is(tb)});
  });
}

template <class T>
void batched_gemm(int64_t batch, Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha,
                  const T* const* A, int64_t lda, const T* const* B, int64_t ldb, T beta,
                  T* const* C, int64_t ldc) {
  for_batch(batch, M * N * K, [&](bool parallel, int64_t i) {
    run<T>(parallel,
           {active_kernels<T>(), M, N, K, alpha, {A[i], lda, is(ta)}, beta, C[i], ldc, nullptr},
           {B[i], ldb, is(tb)});
  });
}

template <class T>
void PackedB<T>::pack(Trans tb, int64_t K, int64_t N, const T* B, int64_t ldb) {
  kernels_ = &active_kernels<T>();
  K_ = K;
  N_ = N;
  if (dry_run || K <= 0 || N <= 0) return;
  const int64_t width = kernels_->tile_cols;
  T* packed = memory_.reserve(ceil_div(N, width) * width * K);
  pack_all(true, *kernels_, K, N, Operand<T>{B, ldb, is(tb)}, packed);
}

template <class T>
void gemm_packed(int64_t M, T alpha, const T* A, int64_t lda, const PackedB<T>& B, T beta, T* C,
                 int64_t ldc, const T* bias) {
  run_packed(true, M, alpha, A, lda, B, beta, C, ldc, bias);
}

template <class T>
void gemm_packed_serial(int64_t M, T alpha, const T* A, int64_t lda, const PackedB<T>& B, T beta,
                        T* C, int64_t ldc, const T* bias) {
  run_packed(false, M, alpha, A, lda, B, beta, C, ldc, bias);
}

#define FOVEA_INSTANTIATE_GEMM(T)                                                                  \
  template void gemm(Trans, Trans, int64_t, int64_t, int64_t, T, const T*, int64_t, const T*,      \
                     int64_t, T, T*, int64_t, const T*);                                           \
  template void gemm_serial(Trans, Trans, int64_t, int64_t, int64_t, T, const T*, int64_t,         \
                            const T*, int64_t, T, T*, int64_t, const T*);                          \
  template void gemm_naive(Trans, Trans, int64_t, int64_t, int64_t, T, const T*, int64_t,          \
                           const T*, int64_t, T, T*, int64_t, const T*);                           \
  template void batched_gemm(int64_t, Trans, Trans, int64_t, int64_t, int64_t, T, const T*,        \
                             int64_t, int64_t, const T*, int64_t, int64_t, T, T*, int64_t,         \
                             int64_t);                                                             \
  template void batched_gemm(int64_t, Trans, Trans, int64_t, int64_t, int64_t, T, const T* const*, \
                             int64_t, const T* const*, int64_t, T, T* const*, int64_t);            \
  template class PackedB<T>;                                                                       \
  template void gemm_packed(int64_t, T, const T*, int64_t, const PackedB<T>&, T, T*, int64_t,      \
                            const T*);                                                             \
  template void gemm_packed_serial(int64_t, T, const T*, int64_t, const PackedB<T>&, T, T*,        \
                                   int64_t, const T*);

FOVEA_INSTANTIATE_GEMM(float)
FOVEA_INSTANTIATE_GEMM(double)
#undef FOVEA_INSTANTIATE_GEMM

}  // namespace fovea::kernels
