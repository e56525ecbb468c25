#include <fovea/core/autograd.h>
#include <fovea/core/kernels/optimizer.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/optimizer.h>

#include <cmath>

namespace fovea {
namespace {

void check_fits(std::string_view op, const Tensor& w, std::string_view what, const Tensor& x) {
  check_defined(op, "w", w);
  if (!x.defined()) detail::undefined_argument(op, what);
  if (x.dtype() != w.dtype())
    dtype_error(op, "w is {}, {} is {}: dtypes must be equal", name_of(w.dtype()), what,
                name_of(x.dtype()));
  if (!(x.shape() == w.shape()))
    shape_error(op, "w is {}, {} is {}: shapes must be equal", w.shape().str(), what,
                x.shape().str());
}

void check_state(std::string_view op, const Tensor& w, std::string_view what, const Tensor& x) {
  check_fits(op, w, what, x);
  if (!x.is_contiguous()) value_error(op, "{} {}: must be contiguous", what, x.shape().str());
}

}  // namespace

void sgd_step(Tensor& w, const Tensor& dw, Tensor& velocity, const SgdRule& rule, bool first) {
  check_state("sgd_step", w, "w", w);
  check_fits("sgd_step", w, "dw", dw);
  if (rule.momentum != 0) check_state("sgd_step", w, "velocity", velocity);
  const NoGrad guard;
  const detail::ObservedUpdate observed("sgd_step", {w, dw, velocity});
  const Tensor dense = dw.contiguous();
  dispatch_float(w.dtype(), "sgd_step", [&]<class T>() {
    const kernels::SgdCoefficients<T> c{
        .lr = static_cast<T>(rule.lr),
        .weight_decay = static_cast<T>(rule.weight_decay),
        .momentum = static_cast<T>(rule.momentum),
        .gradient_factor = static_cast<T>(first ? 1 : 1 - rule.dampening)};
    if (rule.momentum == 0) {
      kernels::sgd(c, dense.data<T>(), w.numel(), w.mutable_data<T>());
    } else {
      kernels::sgd_momentum(c, rule.nesterov, dense.data<T>(), w.numel(), w.mutable_data<T>(),
                            velocity.mutable_data<T>());
    }
  });
}

void adam_step(Tensor& w, const Tensor& dw, Tensor& m, Tensor& v, const AdamRule& rule,
               std::int64_t t) {
  check_state("adam_step", w, "w", w);
  check_fits("adam_step", w, "dw", dw);
  check_state("adam_step", w, "m", m);
  check_state("adam_step", w, "v", v);
  if (t < 1) value_error("adam_step", "t = {}: must be 1 or more", t);
  const NoGrad guard;
  const detail::ObservedUpdate observed("adam_step", {w, dw, m, v});
  const Tensor dense = dw.contiguous();
  const auto steps = static_cast<double>(t);
  dispatch_float(w.dtype(), "adam_step", [&]<class T>() {
    const kernels::AdamCoefficients<T> c{
        .gain1 = static_cast<T>(1 - rule.beta1),
        .gain2 = static_cast<T>(1 - rule.beta2),
        .step = static_cast<T>(rule.lr / (1 - std::pow(rule.beta1, steps))),
        .unbias = static_cast<T>(1 / std::sqrt(1 - std::pow(rule.beta2, steps))),
        .eps = static_cast<T>(rule.eps),
        .penalty = static_cast<T>(rule.decoupled ? 0 : rule.weight_decay),
        .shrink = static_cast<T>(rule.decoupled ? 1 - rule.lr * rule.weight_decay : 1)};
    kernels::adam(c, dense.data<T>(), w.numel(), w.mutable_data<T>(), m.mutable_data<T>(),
                  v.mutable_data<T>());
  });
}

double sum_of_squares(const Tensor& x) {
  check_defined("sum_of_squares", "x", x);
  const NoGrad guard;
  const detail::ObservedUpdate observed("sum_of_squares", {x});
  const Tensor dense = x.contiguous();
  return dispatch_float(x.dtype(), "sum_of_squares", [&]<class T>() {
    return kernels::sum_of_squares(dense.data<T>(), dense.numel());
  });
}

}  // namespace fovea
