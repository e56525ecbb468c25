// Matrix products, for float and double. All matrices are row-major with a row stride ("ld").
//
// Every element of C is one chain of multiply-adds over k in ascending order, split at fixed
// positions, or, for few rows and a transposed B, a fixed sum of such chains; threads share whole
// elements, never a sum. So C is bitwise independent of the number of threads. beta = 0 does not
// read C, K = 0 and alpha = 0 do not read A and B, as in BLAS.
#pragma once

#include <fovea/core/kernels/gemm_kernels.h>
#include <fovea/core/kernels/gemm_memory.h>

#include <cstdint>

namespace fovea::kernels {

// Trans::yes: the matrix is stored as its transpose. op(A) is (M, K), op(B) is (K, N).
enum class Trans : bool { no, yes };

// C = alpha op(A) op(B) + beta C + bias          C: (M, N)   bias: (N), added to every row, or null
template <class T>
void gemm(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A, int64_t lda,
          const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const T* bias = nullptr);

// The same on the calling thread only, for callers inside a parallel_for.
template <class T>
void gemm_serial(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
                 int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc,
                 const T* bias = nullptr);

// Reference implementation in three loops, for the tests; also the fastest for a few dozen
// products.
template <class T>
void gemm_naive(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
                int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc,
                const T* bias = nullptr);

// The same by OpenBLAS, on the calling thread only. Sizes and strides must fit an int.
template <class T>
void gemm_blas(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
               int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc);

// C_i = alpha op(A_i) op(B_i) + beta C_i for i < batch, where A_i = A + i * a_step and so on.
// A step of 0 shares a matrix between all products (not C).
template <class T>
void batched_gemm(int64_t batch, Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha,
                  const T* A, int64_t lda, int64_t a_step, const T* B, int64_t ldb, int64_t b_step,
                  T beta, T* C, int64_t ldc, int64_t c_step);

// The same with a list of the matrices' addresses.
template <class T>
void batched_gemm(int64_t batch, Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha,
                  const T* const* A, int64_t lda, const T* const* B, int64_t ldb, T beta,
                  T* const* C, int64_t ldc);

// op(B) packed for the inner loops, for many products with the same B (the weights of a recurrent
// net, step after step). Packing again into the same object reuses its memory.
template <class T>
class PackedB {
 public:
  // op(B): (K, N)
  void pack(Trans tb, int64_t K, int64_t N, const T* B, int64_t ldb);

  int64_t rows() const { return K_; }
  int64_t cols() const { return N_; }
  const T* data() const { return memory_.data(); }
  const GemmKernels<T>& kernels() const { return *kernels_; }  // the layout depends on them

 private:
  int64_t K_ = 0, N_ = 0;
  const GemmKernels<T>* kernels_ = nullptr;
  GemmMemory<T> memory_;
};

// C = alpha A B + beta C + bias                  A: (M, K)  C: (M, N)
template <class T>
void gemm_packed(int64_t M, T alpha, const T* A, int64_t lda, const PackedB<T>& B, T beta, T* C,
                 int64_t ldc, const T* bias = nullptr);
template <class T>
void gemm_packed_serial(int64_t M, T alpha, const T* A, int64_t lda, const PackedB<T>& B, T beta,
                        T* C, int64_t ldc, const T* bias = nullptr);

}  // namespace fovea::kernels
