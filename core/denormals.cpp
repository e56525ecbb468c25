#include <fovea/core/denormals.h>
#include <fovea/core/kernels/float_mode.h>

namespace fovea {

bool set_flush_denormal(bool on) {
  kernels::flush_mode.store(on ? kernels::kFlush : 0, std::memory_order_relaxed);
  return kernels::kFlush != 0;
}

bool flush_denormal() { return kernels::flush_mode.load(std::memory_order_relaxed) != 0; }

}  // namespace fovea
