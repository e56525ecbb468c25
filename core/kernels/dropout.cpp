#include <fovea/core/kernels/dropout.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/rows.h>

#include <cmath>

namespace fovea::kernels {

// One per build of dropout_simd.cpp.
namespace baseline {
extern const DropoutTable dropout_table;
}
namespace v3 {
extern const DropoutTable dropout_table;
}
namespace v4 {
extern const DropoutTable dropout_table;
}

namespace {

constexpr int64_t kGrain = 16 * 1024;  // a multiple of 4: every chunk begins with a new block

template <class T>
const DropoutLoops<T>& loops() {
  return loops_of<T>(pick(baseline::dropout_table, v3::dropout_table, v4::dropout_table));
}

template <class T>
T scale_of(double p) {
  return static_cast<T>(1 / (1 - p));
}

template <class T>
void drop(typename DropoutLoops<T>::Forward loop, const T* x, int64_t n, double p,
          const PhiloxOrigin& origin, T* y) {
  const auto threshold = static_cast<int32_t>(std::lround(p * 0x1p24));
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    PhiloxOrigin here = origin;
    here.block += static_cast<uint64_t>(begin / 4);
    loop(x + begin, end - begin, threshold, scale_of<T>(p), here, y + begin);
  });
}

}  // namespace

template <class T>
void dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y) {
  drop(loops<T>().dropout, x, n, p, origin, y);
}

template <class T>
void relu_dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y) {
  drop(loops<T>().relu_dropout, x, n, p, origin, y);
}

template <class T>
void relu_dropout_backward(const T* y, const T* dy, int64_t n, double p, T* dx) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    loops<T>().relu_dropout_backward(y + begin, dy + begin, end - begin, scale_of<T>(p),
                                     dx + begin);
  });
}

#define FOVEA_DROPOUT(T)                                                          \
  template void dropout(const T*, int64_t, double, const PhiloxOrigin&, T*);      \
  template void relu_dropout(const T*, int64_t, double, const PhiloxOrigin&, T*); \
  template void relu_dropout_backward(const T*, const T*, int64_t, double, T*);
FOVEA_DROPOUT(float)
FOVEA_DROPOUT(double)
#undef FOVEA_DROPOUT

}  // namespace fovea::kernels
