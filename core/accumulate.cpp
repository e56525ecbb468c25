#include <fovea/core/accumulate_detail.h>
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/copy.h>

namespace fovea {
namespace {

void add_in_place(Tensor& sum, const Tensor& x) {
  if (!x.is_contiguous()) return add_in_place(sum, x.contiguous());
  dispatch_float(sum.dtype(), "backward", [&]<class T>() {
    kernels::add_into(reinterpret_cast<T*>(sum.raw_data()), x.data<T>(), sum.numel());
  });
}

// s = a + b as an op of its own, because the engine must not depend on core/ops.
Tensor recorded_sum(const Tensor& a, const Tensor& b) {
  Tensor s;
  {
    const NoGrad computing;
    s = a.clone();
    add_in_place(s, b);
  }
  return record<"accumulate">(s, {a, b}, [](const Tensor& ds, NeedsGrad) { return Grads(ds, ds); });
}

}  // namespace

namespace detail {

bool is_exclusive(const Tensor& x) {
  return !x.impl()->refs.is_shared() && x.is_contiguous() && !x.impl()->storage->is_shared();
}

void accumulate(Tensor& sum, Tensor x) {
  if (!sum.defined()) {
    sum = std::move(x);
  } else if (grad_enabled()) {
    sum = recorded_sum(sum, x);
  } else if (is_exclusive(sum)) {
    add_in_place(sum, x);
  } else if (is_exclusive(x)) {
    add_in_place(x, sum);
    sum = std::move(x);
  } else {
    sum = sum.clone();
    add_in_place(sum, x);
  }
}

}  // namespace detail
}  // namespace fovea
