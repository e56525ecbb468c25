#include <fovea/core/autograd.h>
#include <fovea/core/kernels/softmax.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rows_detail.h>
#include <fovea/core/ops/softmax.h>

#include <limits>

namespace fovea {
namespace {

using detail::row_count;

// f along any axis, given f along the last one.
template <class F>
Tensor along(std::string_view op, const Tensor& x, std::int64_t axis, const F& f) {
  check_defined(op, "x", x);
  axis = normalize_axis(op, axis, x.rank());
  if (axis == x.rank() - 1) return f(x.contiguous());
  return transpose(f(transpose(x, axis, -1).contiguous()), axis, -1);
}

// dx = y * (dy - sum y dy), and 0 where y = 0, whatever the value of dy
Grads softmax_backward(const Tensor& dy, const Tensor& y, NeedsGrad) {
  if (grad_enabled()) {
    if (detail::all_finite(dy) && detail::all_finite(y)) return y * (dy - sum(y * dy, -1, true));
    const Tensor dropped = eq(y, 0.0), given = where(dropped, 0.0, dy);
    return where(dropped, 0.0, y * (given - sum(y * given, -1, true)));
  }
  Tensor dx = empty(y.shape(), y.dtype());
  dispatch_float(y.dtype(), "softmax", [&]<class T>() {
    kernels::softmax_backward(y.data<T>(), dy.data<T>(), row_count(y), y.dim(-1),
                              dx.mutable_data<T>());
  });
  return dx;
}

// dx = dy - exp(y) * sum dy
Grads log_softmax_backward(const Tensor& dy, const Tensor& y, NeedsGrad) {
  if (grad_enabled()) return dy - exp(y) * sum(dy, -1, true);
  Tensor dx = empty(y.shape(), y.dtype());
  dispatch_float(y.dtype(), "log_softmax", [&]<class T>() {
    kernels::log_softmax_backward(y.data<T>(), dy.data<T>(), row_count(y), y.dim(-1),
                                  dx.mutable_data<T>());
  });
  return dx;
}

// The largest element of each row, as a constant: softmax does not change when it is subtracted, so
// it needs no gradient.
Tensor row_max(const Tensor& x) { return max(without_graph(x), -1, true); }

// The mask as a tensor that broadcasts to the scores x.
Tensor kept_scores(const Tensor& x, const Mask& mask) {
  check_defined("masked_softmax", "x", x);
  const std::int64_t rank = x.rank();
  if (rank < 2 || rank > 4)
    shape_error("masked_softmax", "x {}: must be (T, S), (B, T, S) or (B, H, T, S)",
                x.shape().str());
  if (rank == 4) return mask.to_tensor({x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  const Tensor kept = mask.to_tensor(rank == 2 ? 1 : x.dim(0), x.dim(-2), x.dim(-1));
  return rank == 2 ? squeeze(kept, 0) : kept;  // (T, S), (B or 1, T, S)
}

// `keep` expanded to x's shape.
Tensor kept_entries(const Tensor& x, const Tensor& keep) {
  check_defined("masked_softmax", "x", x, "keep", keep);
  if (keep.dtype() != DType::boolean)
    dtype_error("masked_softmax", "keep is {}: must be bool", name_of(keep.dtype()));
  if (!(broadcast_shapes("masked_softmax", x.shape(), keep.shape()) == x.shape()))
    shape_error("masked_softmax", "x {} and keep {}: keep must broadcast to x's shape",
                x.shape().str(), keep.shape().str());
  return broadcast_to(keep, x.shape());
}

}  // namespace

// y_i = exp(x_i - max x) / sum_j exp(x_j - max x)       dx = y * (dy - sum y dy)       saves y
Tensor softmax(const Tensor& x, std::int64_t axis) {
  return along("softmax", x, axis, [](const Tensor& rows) {
    Tensor y = empty(rows.shape(), rows.dtype());
    dispatch_float(rows.dtype(), "softmax", [&]<class T>() {
      kernels::softmax(rows.data<T>(), row_count(rows), rows.dim(-1), y.mutable_data<T>());
    });
    return record<"softmax">(y, {rows}, softmax_backward);
  });
}

Tensor softmax_reference(const Tensor& x, std::int64_t axis) {
  return along("softmax", x, axis, [](const Tensor& rows) {
    const Tensor e = exp(rows - row_max(rows));
    return e / sum(e, -1, true);
  });
}

// y_i = x_i - log sum_j exp(x_j)       dx = dy - exp(y) * sum dy       saves y
Tensor log_softmax(const Tensor& x, std::int64_t axis) {
  return along("log_softmax", x, axis, [](const Tensor& rows) {
    Tensor y = empty(rows.shape(), rows.dtype());
    dispatch_float(rows.dtype(), "log_softmax", [&]<class T>() {
      kernels::log_softmax(rows.data<T>(), row_count(rows), rows.dim(-1), y.mutable_data<T>());
    });
    return record<"log_softmax">(y, {rows}, log_softmax_backward);
  });
}

Tensor log_softmax_reference(const Tensor& x, std::int64_t axis) {
  return along("log_softmax", x, axis, [](const Tensor& rows) {
    const Tensor shifted = rows - row_max(rows);
    return shifted - log(sum(exp(shifted), -1, true));
  });
}

// Softmax over the kept elements; same gradient formula, since masked elements have y = 0.
Tensor masked_softmax(const Tensor& x, const Tensor& keep, std::int64_t axis) {
  const Tensor entries = kept_entries(x, keep);
  return along("masked_softmax", x, axis, [&](const Tensor& rows) {
    const Tensor kept = transpose(entries, axis, -1).contiguous();
    Tensor y = empty(rows.shape(), rows.dtype());
    dispatch_float(rows.dtype(), "masked_softmax", [&]<class T>() {
      kernels::masked_softmax(rows.data<T>(), kept.data<bool>(), row_count(rows), rows.dim(-1),
                              y.mutable_data<T>());
    });
    return record<"masked_softmax">(y, {rows}, softmax_backward);
  });
}

Tensor masked_softmax(const Tensor& x, const Mask& mask) {
  return masked_softmax(x, kept_scores(x, mask));
}

// Subtracts the largest kept score. If nothing is kept, e = 0 everywhere; dividing by 1 instead of
// the sum keeps it zero.
Tensor masked_softmax_reference(const Tensor& x, const Tensor& keep, std::int64_t axis) {
  const Tensor kept = kept_entries(x, keep);
  constexpr double minus_infinity = -std::numeric_limits<double>::infinity();
  const Tensor top = max(where(kept, without_graph(x), minus_infinity), axis, true);
  const Tensor shift = where(eq(top, minus_infinity), 0.0, top);
  const Tensor e = where(kept, exp(where(kept, x - shift, minus_infinity)), 0.0);
  const Tensor total = sum(e, axis, true);
  return where(kept, e / where(eq(total, 0.0), 1.0, total), 0.0);
}

}  // namespace fovea
