#include <fovea/core/kernels/dropout.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
void dropout(const T* x, int64_t n, int32_t threshold, T scale, const PhiloxOrigin& origin, T* y) {
  constexpr int64_t batch = 4 * kPhiloxBatch;
  uint32_t words[batch];
  for (int64_t begin = 0; begin < n; begin += batch) {
    philox_blocks(origin, static_cast<uint64_t>(begin / 4), words);
    const int64_t count = n - begin < batch ? n - begin : batch;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i)
      y[begin + i] = static_cast<int32_t>(words[i] >> 8) < threshold ? 0 : x[begin + i] * scale;
  }
}

}  // namespace

extern const DropoutTable dropout_table;
const DropoutTable dropout_table = {.f32 = dropout<float>, .f64 = dropout<double>};

}  // namespace fovea::kernels::FOVEA_ISA
