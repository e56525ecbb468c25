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

template <class T>
void dropout(const T* x, int64_t n, double p, const PhiloxOrigin& origin, T* y) {
  const auto loop =
      loops_of<T>(pick(baseline::dropout_table, v3::dropout_table, v4::dropout_table));
  const auto threshold = static_cast<int32_t>(std::lround(p * 0x1p24));
  const T scale = static_cast<T>(1 / (1 - p));
  constexpr int64_t grain = 16 * 1024;  // a multiple of 4: every piece begins with a new block
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    PhiloxOrigin here = origin;
    here.block += static_cast<uint64_t>(begin / 4);
    loop(x + begin, end - begin, threshold, scale, here, y + begin);
  });
}

template void dropout(const float*, int64_t, double, const PhiloxOrigin&, float*);
template void dropout(const double*, int64_t, double, const PhiloxOrigin&, double*);

}  // namespace fovea::kernels
