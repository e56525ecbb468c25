#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/softmax.h>

namespace fovea::kernels {

// One per build of softmax_simd.cpp.
namespace baseline {
extern const SoftmaxTable softmax_table;
}
namespace v3 {
extern const SoftmaxTable softmax_table;
}
namespace v4 {
extern const SoftmaxTable softmax_table;
}

namespace {

template <class T>
const SoftmaxRows<T>& loops() {
  return loops_of<T>(pick(baseline::softmax_table, v3::softmax_table, v4::softmax_table));
}

}  // namespace

template <class T>
void softmax(const T* x, int64_t rows, int64_t n, T* y) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    loops<T>().softmax(x + first * n, count, n, y + first * n);
  });
}

template <class T>
void masked_softmax(const T* x, const bool* keep, int64_t rows, int64_t n, T* y) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    const int64_t at = first * n;
    loops<T>().masked_softmax(x + at, keep + at, count, n, y + at);
  });
}

template <class T>
void softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    const int64_t at = first * n;
    loops<T>().softmax_backward(y + at, dy + at, count, n, dx + at);
  });
}

template <class T>
void log_softmax(const T* x, int64_t rows, int64_t n, T* y) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    loops<T>().log_softmax(x + first * n, count, n, y + first * n);
  });
}

template <class T>
void log_softmax_backward(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for_rows(rows, n, [&](int64_t first, int64_t count) {
    const int64_t at = first * n;
    loops<T>().log_softmax_backward(y + at, dy + at, count, n, dx + at);
  });
}

#define FOVEA_SOFTMAX(T)                                                     \
  template void softmax(const T*, int64_t, int64_t, T*);                     \
  template void masked_softmax(const T*, const bool*, int64_t, int64_t, T*); \
  template void softmax_backward(const T*, const T*, int64_t, int64_t, T*);  \
  template void log_softmax(const T*, int64_t, int64_t, T*);                 \
  template void log_softmax_backward(const T*, const T*, int64_t, int64_t, T*);
FOVEA_SOFTMAX(float)
FOVEA_SOFTMAX(double)
#undef FOVEA_SOFTMAX

}  // namespace fovea::kernels
