#include <fovea/core/autograd.h>
#include <fovea/core/ops/straight_through.h>

namespace fovea {

// y = hard      dsoft = dy      saves nothing
Tensor straight_through(const Tensor& hard, const Tensor& soft) {
  check_defined("straight_through", "hard", hard, "soft", soft);
  if (!(hard.shape() == soft.shape()))
    shape_error("straight_through", "hard {}, soft {}: shapes must be equal", hard.shape().str(),
                soft.shape().str());
  if (hard.dtype() != soft.dtype())
    dtype_error("straight_through", "hard {}, soft {}: dtypes must be equal", name_of(hard.dtype()),
                name_of(soft.dtype()));
  return record<"straight_through">(without_graph(hard).clone(), {soft},
                                    [](const Tensor& dy, NeedsGrad) -> Grads { return dy; });
}

}  // namespace fovea
