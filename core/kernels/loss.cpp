#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/loss.h>
#include <fovea/core/kernels/rows.h>

namespace fovea::kernels {

// One per build of loss_simd.cpp.
namespace baseline {
extern const LossTable loss_table;
}
namespace v3 {
extern const LossTable loss_table;
}
namespace v4 {
extern const LossTable loss_table;
}

namespace {

template <class T>
const LossRows<T>& loops() {
  return loops_of<T>(pick(baseline::loss_table, v3::loss_table, v4::loss_table));
}

}  // namespace

template <class T>
void cross_entropy(const CrossEntropy<T>& spec, const T* x, const int64_t* target, int64_t rows,
                   T* loss, T* lse) {
  for_rows(rows, spec.V, [&](int64_t first, int64_t count) {
    loops<T>().cross_entropy(spec, x + first * spec.V, target + first, count, loss + first,
                             lse + first);
  });
}

template <class T>
void cross_entropy_backward(const CrossEntropy<T>& spec, const T* x, const int64_t* target,
                            const T* lse, const T* dloss, int64_t rows, T* dx) {
  for_rows(rows, spec.V, [&](int64_t first, int64_t count) {
    const int64_t at = first * spec.V;
    loops<T>().cross_entropy_backward(spec, x + at, target + first, lse + first, dloss + first,
                                      count, dx + at);
  });
}

#define FOVEA_LOSS(T)                                                                              \
  template void cross_entropy(const CrossEntropy<T>&, const T*, const int64_t*, int64_t, T*, T*);  \
  template void cross_entropy_backward(const CrossEntropy<T>&, const T*, const int64_t*, const T*, \
                                       const T*, int64_t, T*);
FOVEA_LOSS(float)
FOVEA_LOSS(double)
#undef FOVEA_LOSS

}  // namespace fovea::kernels
