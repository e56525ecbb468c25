// The only file that uses OpenBLAS: one thread per call, for any OpenBLAS build.
#include <fovea/core/kernels/gemm.h>

#include <cblas.h>
#include <mutex>
#include <type_traits>

namespace fovea::kernels {
namespace {

// OpenBLAS's serial build is not reentrant unless it was compiled with locks, which cannot be
// queried. Its other builds are.
std::mutex* entry_lock() {
  static std::mutex mutex;
  static std::mutex* const lock = [] {
    openblas_set_num_threads(1);
    return openblas_get_parallel() == OPENBLAS_SEQUENTIAL ? &mutex : nullptr;
  }();
  return lock;
}

constexpr CBLAS_TRANSPOSE cblas(Trans t) { return t == Trans::yes ? CblasTrans : CblasNoTrans; }

}  // namespace

template <class T>
void gemm_blas(Trans ta, Trans tb, int64_t M, int64_t N, int64_t K, T alpha, const T* A,
               int64_t lda, const T* B, int64_t ldb, T beta, T* C, int64_t ldc) {
  std::unique_lock<std::mutex> guard;
  if (std::mutex* lock = entry_lock()) guard = std::unique_lock(*lock);
  const auto call = [&](auto routine) {
    const auto n = [](int64_t size) { return static_cast<blasint>(size); };
    routine(CblasRowMajor, cblas(ta), cblas(tb), n(M), n(N), n(K), alpha, A, n(lda), B, n(ldb),
            beta, C, n(ldc));
  };
  if constexpr (std::is_same_v<T, float>) {
    call(cblas_sgemm);
  } else {
    call(cblas_dgemm);
  }
}

template void gemm_blas(Trans, Trans, int64_t, int64_t, int64_t, float, const float*, int64_t,
                        const float*, int64_t, float, float*, int64_t);
template void gemm_blas(Trans, Trans, int64_t, int64_t, int64_t, double, const double*, int64_t,
                        const double*, int64_t, double, double*, int64_t);

}  // namespace fovea::kernels
