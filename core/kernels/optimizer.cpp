#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/optimizer.h>
#include <fovea/core/kernels/rows.h>

#include <vector>

namespace fovea::kernels {

// One per build of optimizer_simd.cpp.
namespace baseline {
extern const OptimizerTable optimizer_table;
}
namespace v3 {
extern const OptimizerTable optimizer_table;
}
namespace v4 {
extern const OptimizerTable optimizer_table;
}

namespace {

constexpr int64_t kGrain = 16 * 1024;

template <class T>
const OptimizerLoops<T>& loops() {
  return loops_of<T>(pick(baseline::optimizer_table, v3::optimizer_table, v4::optimizer_table));
}

}  // namespace

template <class T>
void sgd(const SgdCoefficients<T>& c, const T* dw, int64_t n, T* w) {
  parallel_for(n, kGrain, [&, loop = loops<T>().sgd](int64_t begin, int64_t end) {
    loop(c, dw + begin, end - begin, w + begin);
  });
}

template <class T>
void sgd_momentum(const SgdCoefficients<T>& c, bool nesterov, const T* dw, int64_t n, T* w, T* v) {
  const auto loop = nesterov ? loops<T>().sgd_nesterov : loops<T>().sgd_momentum;
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    loop(c, dw + begin, end - begin, w + begin, v + begin);
  });
}

template <class T>
void adam(const AdamCoefficients<T>& c, const T* dw, int64_t n, T* w, T* m, T* v) {
  parallel_for(n, kGrain, [&, loop = loops<T>().adam](int64_t begin, int64_t end) {
    loop(c, dw + begin, end - begin, w + begin, m + begin, v + begin);
  });
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  if (dry_run) return 0;
  const FloatMode mode;
  const auto loop = loops<T>().sum_of_squares;
  if (n <= kGrain) return loop(x, n);
  std::vector<double> partial(static_cast<std::size_t>(chunk_count(n, kGrain)));
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    partial[static_cast<std::size_t>(begin / kGrain)] = loop(x + begin, end - begin);
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return sum;
}

#define FOVEA_OPTIMIZER(T)                                                                \
  template void sgd(const SgdCoefficients<T>&, const T*, int64_t, T*);                    \
  template void sgd_momentum(const SgdCoefficients<T>&, bool, const T*, int64_t, T*, T*); \
  template void adam(const AdamCoefficients<T>&, const T*, int64_t, T*, T*, T*);          \
  template double sum_of_squares(const T*, int64_t);
FOVEA_OPTIMIZER(float)
FOVEA_OPTIMIZER(double)
#undef FOVEA_OPTIMIZER

}  // namespace fovea::kernels
