#include <fovea/core/kernels/parallel.h>
#include <fovea/core/sizes.h>
#include <fovea/core/threads.h>

namespace fovea {

int num_threads() { return kernels::num_threads(); }
void set_num_threads(int n) {
  checked_range("set_num_threads", "n", n, 1, kernels::max_threads);
  kernels::set_num_threads(n);
}
bool pin_threads() { return kernels::pin_threads(); }

}  // namespace fovea
