#include <fovea/core/autograd.h>
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/step_linear.h>
#include <fovea/core/sizes.h>

#include <algorithm>
#include <atomic>

namespace fovea {
namespace detail {

// Shared by the steps of one StepLinear.
struct LaterInputs {
  std::uint64_t id = next_id();  // unique
  std::vector<Saved> saved_z;    // z_t so far, detached; undefined: no dW required

  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }
};

}  // namespace detail

namespace {

using Later = std::shared_ptr<detail::LaterInputs>;
using kernels::Trans;

// (..., C) -> (rows, C)
Tensor as_rows(const Tensor& x) {
  return reshape(x, {x.numel() / std::max<int64_t>(1, x.dim(-1)), x.dim(-1)});
}

// dW of the rows dy and x = W's columns from `begin` on; 0 in the others.
Tensor weight_gradient(const Tensor& dy, const Tensor& x, int64_t begin, const Shape& shape) {
  const int64_t out = shape[0], end = begin + x.dim(-1);
  std::vector<Tensor> columns{matmul(transpose(as_rows(dy), 0, 1), as_rows(x))};
  if (begin > 0) columns.insert(columns.begin(), zeros({out, begin}, dy.dtype()));
  if (end < shape[1]) columns.push_back(zeros({out, shape[1] - end}, dy.dtype()));
  return columns.size() == 1 ? columns[0] : concat(columns, 1);
}

// (B, T, Z), or undefined if no step saved its z. Steps that were not computed or not recorded give
// W no gradient: their z is replaced by zeros.
Tensor all_steps(const std::vector<Saved>& saved_z, int64_t T) {
  const auto kept =
      std::find_if(saved_z.begin(), saved_z.end(), [](auto& z) { return z.defined(); });
  if (kept == saved_z.end()) return {};
  const Tensor none = zeros(kept->get().shape(), kept->get().dtype());
  std::vector<Tensor> steps = checked_vector("step_linear", "T", T, none);
  for (std::size_t t = 0; t < saved_z.size(); ++t)
    if (saved_z[t].defined()) steps[t] = saved_z[t].get();
  return stack(steps, 1);
}

// Y = X W_x^T + b; its backward gives the gradient of all of W.    (B, T, E) -> (B, T, out)
Tensor early_part(const Tensor& x, const Tensor& weight, const Tensor& bias, const Later& later) {
  const int64_t E = x.dim(2);
  Tensor y;
  {
    const NoGrad guard;
    const detail::HideInnerOps whole;
    y = linear(x, slice(weight, 1, 0, E), bias);
  }
  auto backward = [x = keep_if(weight.requires_grad(), x),
                   weight = keep_if(x.requires_grad(), weight), shape = weight.shape(), E, later,
                   biased = bias.defined()](const Tensor& dy, NeedsGrad needs_grad) {
    Grads grads(biased ? 3 : 2);
    if (needs_grad[0]) grads[0] = matmul(dy, slice(weight, 1, 0, E));
    if (needs_grad[1]) {
      // Under create_graph each step gives its own part of dW, recorded.
      const Tensor z = grad_enabled() ? Tensor() : all_steps(later->saved_z, dy.dim(1));
      grads[1] = weight_gradient(dy, z.defined() ? concat({x, z}, 2) : x.get(), 0, shape);
    }
    if (biased && needs_grad[2]) grads[2] = sum(as_rows(dy), 0);
    return grads;
  };
  if (!bias.defined()) return record<"early_linear">(std::move(y), {x, weight}, backward);
  return record<"early_linear">(std::move(y), {x, weight, bias}, backward);
}

// W_z packed, cached per thread and direction while its version is unchanged: packing takes a
// quarter of the product's time.
template <class T>
struct PackedSteps {
  kernels::PackedB<T> packed;
  std::uint64_t id = 0;
  std::uint32_t version = 0;

  static const kernels::PackedB<T>& of(const Later& later, const Tensor& weight, int64_t E,
                                       Trans trans) {
    thread_local PackedSteps directions[2];
    PackedSteps& kept = directions[trans == Trans::yes];
    const std::uint32_t now = weight.impl()->storage->version();
    if (kept.id == later->id && kept.version == now) return kept.packed;
    const int64_t out = weight.dim(0), in = weight.dim(1), Z = in - E;
    kept.packed.pack(trans, trans == Trans::yes ? Z : out, trans == Trans::yes ? out : Z,
                     weight.data<T>() + E, in);
    kept.id = later->id;
    kept.version = now;
    return kept.packed;
  }
};

// y += a op(W_z)
void add_product(const Tensor& a, const Later& later, const Tensor& weight, int64_t E, Trans trans,
                 double beta, Tensor& y) {
  dispatch_float(a.dtype(), "step_linear", [&]<class T>() {
    kernels::gemm_packed(a.dim(0), T(1), a.data<T>(), a.dim(1),
                         PackedSteps<T>::of(later, weight, E, trans), static_cast<T>(beta),
                         y.mutable_data<T>(), y.dim(1));
  });
}

// y = Y_t + z W_z^T; dW is computed by the early part.    (B, out), (B, Z) -> (B, out)
Tensor step_part(const Tensor& early, const Tensor& z, const Tensor& weight, int64_t E,
                 const Later& later) {
  Tensor y;
  {
    const NoGrad guard;
    const detail::HideInnerOps whole;
    y = early.clone();
  }
  add_product(z, later, weight, E, Trans::yes, 1, y);
  return record<"step_linear">(
      std::move(y), {early, z, weight},
      [z = keep_if(weight.requires_grad(), z), weight = keep_if(z.requires_grad(), weight),
       shape = weight.shape(), E, later](const Tensor& dy, NeedsGrad needs_grad) {
        Grads grads(3);
        if (needs_grad[0]) grads[0] = dy;
        if (needs_grad[1] && grad_enabled()) {
          grads[1] = matmul(dy, slice(weight, 1, E, shape[1]));
        } else if (needs_grad[1]) {
          grads[1] = empty({dy.dim(0), shape[1] - E}, dy.dtype());
          add_product(dy, later, weight, E, Trans::no, 0, grads[1]);
        }
        // If Y_t has no graph history, nothing else computes this part of dW.
        if (needs_grad[2] && (grad_enabled() || !needs_grad[0]))
          grads[2] = weight_gradient(dy, z, E, shape);
        return grads;
      });
}

}  // namespace

StepLinear::StepLinear(const Tensor& x, const Tensor& weight, const Tensor& bias)
    : weight_((check_defined("StepLinear", "x", x, "weight", weight), weight.contiguous())),
      early_(x.rank() == 3 ? x.dim(2) : -1),
      later_(std::make_shared<detail::LaterInputs>()) {
  if (x.rank() != 3 || weight.rank() != 2 || weight.dim(1) < early_)
    shape_error("StepLinear", "x {}, weight {}: must be (B, T, E) and (out, E + Z)",
                x.shape().str(), weight.shape().str());
  steps_ = unbind(early_part(x, weight_, bias, later_), 1);
}

void StepLinear::check(const Tensor& z) const {
  if (done_ == steps_.size()) state_error("StepLinear", "step {} of {}", done_ + 1, done_);
  const int64_t B = steps_[done_].dim(0), Z = weight_.dim(1) - early_;
  if (Z > 0) check_defined("StepLinear", "z", z);
  if (z.defined() && z.shape() != Shape{B, Z})
    shape_error("StepLinear", "z {}: must be ({}, {})", z.shape().str(), B, Z);
  if (z.defined() && z.dtype() != weight_.dtype())
    dtype_error("StepLinear", "z is {} and weight {}: dtypes must be equal", name_of(z.dtype()),
                name_of(weight_.dtype()));
}

Tensor StepLinear::operator()(const Tensor& z) {
  check(z);
  const Tensor& early = steps_[done_++];  // (B, out)
  if (!z.defined()) return early;
  const Tensor rows = z.contiguous();
  later_->saved_z.push_back(keep_if(weight_.requires_grad(), without_graph(rows)));
  return step_part(early, rows, weight_, early_, later_);
}

}  // namespace fovea
