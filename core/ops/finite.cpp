#include <fovea/core/kernels/finite.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/ops/finite_detail.h>

#include <algorithm>
#include <atomic>

namespace fovea::detail {

bool all_finite(const Tensor& x) {
  if (kernels::dry_run) return true;
  const Tensor dense = x.is_contiguous() ? x : without_graph(x).contiguous();
  constexpr std::int64_t grain = 32768;
  std::atomic<bool> finite{true};
  dispatch_float(x.dtype(), "all_finite", [&]<class T>() {
    const T* const values = dense.data<T>();
    kernels::parallel_for(dense.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
      if (!kernels::all_finite(values + begin, end - begin))
        finite.store(false, std::memory_order_relaxed);
    });
  });
  return finite;
}

bool all_zero(const Tensor& x) {
  if (kernels::dry_run) return false;
  const Tensor dense = without_graph(x).contiguous();
  return dispatch_float(x.dtype(), "all_zero", [&]<class T>() {
    const T* const values = dense.data<T>();
    return std::all_of(values, values + dense.numel(), [](T v) { return v == 0; });
  });
}

}  // namespace fovea::detail
