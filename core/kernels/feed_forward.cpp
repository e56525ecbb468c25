#include <fovea/core/kernels/feed_forward.h>
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/weight_parts.h>

namespace fovea::kernels {
namespace {

template <class T>
WeightParts parts_of(const FeedForwardProblem<T>& p) {
  return {p.F, p.C * (p.w3 ? 3 : 2)};
}

// y(M, N) = x(M, K) W^T + b, on this thread
template <class T>
void apply(int64_t M, int64_t N, int64_t K, const T* x, const T* w, int64_t w_stride, const T* b,
           T* y) {
  gemm_serial<T>(Trans::no, Trans::yes, M, N, K, 1, x, K, w, w_stride, 0, y, N, b);
}

// The partial result of hidden units [begin, end).    h, h3: (M, end - begin)
template <class T>
void run_part(const FeedForwardProblem<T>& p, int64_t begin, int64_t end, T* h, T* h3, T* share) {
  const int64_t units = end - begin, n = p.M * units;
  apply(p.M, units, p.C, p.x, p.w1 + begin * p.C, p.C, p.b1 ? p.b1 + begin : nullptr, h);
  unary(p.f, h, h, n);
  if (p.w3) {
    apply(p.M, units, p.C, p.x, p.w3 + begin * p.C, p.C, p.b3 ? p.b3 + begin : nullptr, h3);
    for (int64_t i = 0; i < n; ++i) h[i] *= h3[i];
  }
  apply<T>(p.M, p.C, units, h, p.w2 + begin, p.F, nullptr, share);
}

}  // namespace

template <class T>
void feed_forward(const FeedForwardProblem<T>& p) {
  if (dry_run) return;
  thread_local GemmMemory<T> memory;  // the hidden units of every task, then the partial sums of y
  const WeightParts parts = parts_of(p);
  const int64_t hidden = p.M * parts.size, per_part = hidden * (p.w3 ? 2 : 1);
  T* const buffer = memory.reserve(parts.count * (per_part + p.M * p.C));
  T* const shares = buffer + parts.count * per_part;
  parallel_for(parts.count, 1, [&](int64_t part, int64_t last) {
    for (; part < last; ++part) {
      T* const h = buffer + part * per_part;
      run_part(p, parts.begin(part), parts.end(part), h, h + hidden, shares + part * p.M * p.C);
    }
  });
  add_shares(parts.count, p.M, p.C, shares, p.b2, p.y);
}

template void feed_forward(const FeedForwardProblem<float>&);
template void feed_forward(const FeedForwardProblem<double>&);

}  // namespace fovea::kernels
