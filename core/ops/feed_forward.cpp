#include <fovea/core/autograd.h>
#include <fovea/core/kernels/feed_forward.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optional_input_detail.h>
#include <fovea/core/ops/rows_detail.h>

namespace fovea {
namespace {

using detail::check_if_given;
using detail::data_or_null;
using detail::dense_or_none;
using detail::is_dense_or_none;
using Weights = FeedForwardWeights;

void check(const Tensor& x, Activation activation, const Weights& w) {
  constexpr const char* op = "feed_forward";
  check_defined(op, "x", x, "w1", w.w1, "w2", w.w2);
  if (x.rank() == 0 || w.w1.rank() != 2 || x.dim(-1) != w.w1.dim(1) ||
      !(w.w2.shape() == Shape{w.w1.dim(1), w.w1.dim(0)}))
    shape_error(op, "x {}, w1 {} and w2 {}: must be (..., C), (F, C) and (C, F)", x.shape().str(),
                w.w1.shape().str(), w.w2.shape().str());
  if (w.w3.defined() != (activation == Activation::swiglu))
    value_error(op, "w3 is {}: must be given for swiglu, and for swiglu only",
                w.w3.defined() ? "given" : "undefined");
  if (!is_floating(x.dtype())) dtype_error(op, "needs f32 or f64, and got {}", name_of(x.dtype()));
  const std::int64_t C = w.w1.dim(1), F = w.w1.dim(0);
  check_if_given(op, "w1", w.w1, {F, C}, x.dtype());
  check_if_given(op, "b1", w.b1, {F}, x.dtype());
  check_if_given(op, "w2", w.w2, {C, F}, x.dtype());
  check_if_given(op, "b2", w.b2, {C}, x.dtype());
  check_if_given(op, "w3", w.w3, {F, C}, x.dtype());
  check_if_given(op, "b3", w.b3, {F}, x.dtype());
}

kernels::Unary function_of(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return kernels::Unary::relu;
    case Activation::gelu:
      return kernels::Unary::gelu;
    default:
      return kernels::Unary::silu;
  }
}

Tensor in_one_pass(const Tensor& x, Activation activation, const Weights& w) {
  if (!(is_dense_or_none(x) && is_dense_or_none(w.w1) && is_dense_or_none(w.b1) &&
        is_dense_or_none(w.w2) && is_dense_or_none(w.b2) && is_dense_or_none(w.w3) &&
        is_dense_or_none(w.b3)))
    return in_one_pass(x.contiguous(), activation,
                       {.w1 = dense_or_none(w.w1),
                        .b1 = dense_or_none(w.b1),
                        .w2 = dense_or_none(w.w2),
                        .b2 = dense_or_none(w.b2),
                        .w3 = dense_or_none(w.w3),
                        .b3 = dense_or_none(w.b3)});
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "feed_forward", [&]<class T>() {
    const std::int64_t C = w.w1.dim(1), F = w.w1.dim(0);
    const kernels::FeedForwardProblem<T> problem{.M = x.numel() / C,
                                                 .C = C,
                                                 .F = F,
                                                 .f = function_of(activation),
                                                 .x = x.data<T>(),
                                                 .w1 = w.w1.data<T>(),
                                                 .b1 = data_or_null<T>(w.b1),
                                                 .w3 = data_or_null<T>(w.w3),
                                                 .b3 = data_or_null<T>(w.b3),
                                                 .w2 = w.w2.data<T>(),
                                                 .b2 = data_or_null<T>(w.b2),
                                                 .y = y.mutable_data<T>()};
    kernels::feed_forward(problem);
  });
  detail::note_work([&] { return x.numel() * w.w1.dim(0) * (w.w3.defined() ? 3 : 2); });
  return record_cut<"feed_forward">(std::move(y), {x, w.w1, w.b1, w.w2, w.b2, w.w3, w.b3});
}

}  // namespace

bool feed_forward_in_one_pass(const Tensor& x) {
  check_defined("feed_forward", "x", x);
  if (grad_enabled() || x.rank() == 0) return false;
  const std::int64_t rows = detail::row_count(x);
  return rows >= 1 && rows <= kFusedDecodeRows;
}

Tensor feed_forward(const Tensor& x, Activation activation, const Weights& w) {
  check(x, activation, w);
  if (!feed_forward_in_one_pass(x) || w.w1.dim(0) == 0)
    return feed_forward_reference(x, activation, w);
  return in_one_pass(x, activation, w);
}

Tensor feed_forward_reference(const Tensor& x, Activation activation, const Weights& w) {
  check_defined("feed_forward", "x", x, "w1", w.w1, "w2", w.w2);
  const Tensor in = linear(x, w.w1, w.b1);  // (..., F)
  switch (activation) {
    case Activation::relu:
      return linear(relu(in), w.w2, w.b2);
    case Activation::gelu:
      return linear(gelu(in), w.w2, w.b2);
    case Activation::swiglu:
      return linear(silu(in) * linear(x, w.w3, w.b3), w.w2, w.b2);
  }
  value_error("feed_forward", "unknown activation");
}

}  // namespace fovea
