#include <fovea/core/autograd.h>
#include <fovea/core/kernels/norm.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rows_detail.h>

#include <cmath>

namespace fovea {
namespace {

using detail::row_count;

void check_x(std::string_view op, const Tensor& x) {
  check_defined(op, "x", x);
  if (x.rank() == 0) shape_error(op, "x (): there is no last axis to normalize over");
}

void check_eps(std::string_view op, double eps) {
  if (!(eps >= 0 && std::isfinite(eps)))
    value_error(op, "eps = {}: must be finite and at least 0", eps);
}

// A weight or bias must be (C), with x's dtype.
void check_scale(std::string_view op, std::string_view name, const Tensor& scale, const Tensor& x) {
  if (!scale.defined()) return;
  if (scale.rank() != 1 || scale.dim(0) != x.dim(-1))
    shape_error(op, "x {} and {} {}: {} must have one element for each of the last axis's {}",
                x.shape().str(), name, scale.shape().str(), name, x.dim(-1));
  if (scale.dtype() != x.dtype())
    dtype_error(op, "x is {}, {} is {}: dtypes must be equal", name_of(x.dtype()), name,
                name_of(scale.dtype()));
}

Tensor dense_or(const Tensor& scale, double value, const Tensor& x) {
  return scale.defined() ? scale.contiguous() : full({x.dim(-1)}, value, x.dtype());
}

Tensor row_mean(const Tensor& x) { return mean(x, -1, true); }

// The magnitudes of rows whose squares would overflow (or underflow, without eps), as constants;
// else 1.
Tensor row_sizes(const Tensor& x, double eps) {
  const NoGrad guard;
  const Tensor size = max(abs(x), -1, true);
  Tensor far = size > 0x1p60;
  if (eps == 0) far = logical_or(far, logical_and(size > 0.0, size < 0x1p-60));
  return where(far, size, 1.0);
}

// x normalized: h has mean square 1 (and mean 0 if centered); r is the scale factor. Centered
// twice, since the rounding of a large mean is not negligible for small deviations.
struct Normalized {
  Tensor h;  // (..., C)
  Tensor r;  // (..., 1)
};
Normalized normalize(const Tensor& x, double eps, bool centered) {
  Tensor from = x;
  for (int i = 0; centered && i < 2; ++i) from = from - row_mean(from);
  if (x.dim(-1) == 0) return {from, rsqrt(row_mean(from * from) + eps)};
  const Tensor size = row_sizes(without_graph(from), eps), unit = from / size;
  const Tensor r = rsqrt(row_mean(unit * unit) + eps / size / size);
  return {unit * r, r / size};
}

// The gradients by (x, g, b) in plain ops, for second derivatives. With d = g dy:
//   dx = r (d - mean(d) - h mean(d h)), the middle term only for a centered norm
Grads norm_gradients(const Tensor& dy, const Tensor& x, const Tensor& g, double eps,
                     bool centered) {
  const auto [h, r] = normalize(x, eps, centered);
  const Tensor d = dy * g;
  Tensor inner = d - h * row_mean(d * h);
  if (centered) inner = inner - row_mean(d);
  const Shape width = {x.dim(-1)};
  return {r * inner, sum_to(dy * h, width), sum_to(dy, width)};
}

// Shared by both backward kernels: results, and scratch for the sums over rows.
struct GradientBuffers {
  Tensor dx, dg, db, partial;
  explicit GradientBuffers(const Tensor& x)
      : dx(empty(x.shape(), x.dtype())),
        dg(empty({x.dim(-1)}, x.dtype())),
        db(empty({x.dim(-1)}, x.dtype())),
        partial(empty({kernels::norm_partial_size(row_count(x), x.dim(-1))}, x.dtype())) {}
};

}  // namespace

// mu = mean(x)   r = 1 / sqrt(var(x) + eps)   h = (x - mu) r   y = g h + b
// with d = g dy:   dx = r (d - mean(d) - h mean(d h))   dg = sum dy h   db = sum dy
// saves x, g, mu, r
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check_x("layer_norm", x);
  check_eps("layer_norm", eps);
  check_scale("layer_norm", "weight", weight, x);
  check_scale("layer_norm", "bias", bias, x);
  const Tensor rows = x.contiguous(), g = dense_or(weight, 1, x), b = dense_or(bias, 0, x);
  const std::int64_t n = row_count(x), C = x.dim(-1);
  Tensor y = empty(x.shape(), x.dtype()), stats = empty({2 * n}, x.dtype());  // mu, then r
  dispatch_float(x.dtype(), "layer_norm", [&]<class T>() {
    kernels::layer_norm(rows.data<T>(), g.data<T>(), b.data<T>(), static_cast<T>(eps), n, C,
                        y.mutable_data<T>(), stats.mutable_data<T>(), stats.mutable_data<T>() + n);
  });
  return record<"layer_norm">(
      y, {rows, weight, bias},
      [x = keep(rows), g = keep(g), s = keep(stats), n, eps](const Tensor& dy, NeedsGrad) -> Grads {
        if (grad_enabled()) return norm_gradients(dy, x, g, eps, true);
        GradientBuffers to(x);
        dispatch_float(dy.dtype(), "layer_norm", [&]<class T>() {
          kernels::layer_norm_backward(x.get().data<T>(), g.get().data<T>(), s.get().data<T>(),
                                       s.get().data<T>() + n, dy.data<T>(), row_count(dy),
                                       dy.dim(-1), to.dx.mutable_data<T>(), to.dg.mutable_data<T>(),
                                       to.db.mutable_data<T>(), to.partial.mutable_data<T>());
        });
        return {to.dx, to.dg, to.db};
      });
}

Tensor layer_norm_reference(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check_defined("layer_norm", "x", x);
  Tensor y = normalize(x, eps, true).h;
  if (weight.defined()) y = y * weight;
  if (bias.defined()) y = y + bias;
  return y;
}

// r = 1 / sqrt(mean(x^2) + eps)   h = x r   y = g h
// with d = g dy:   dx = r (d - h mean(d h))   dg = sum dy h
// saves x, g, r
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check_x("rms_norm", x);
  check_eps("rms_norm", eps);
  check_scale("rms_norm", "weight", weight, x);
  const Tensor rows = x.contiguous(), g = dense_or(weight, 1, x);
  const std::int64_t n = row_count(x), C = x.dim(-1);
  Tensor y = empty(x.shape(), x.dtype()), r = empty({n}, x.dtype());
  dispatch_float(x.dtype(), "rms_norm", [&]<class T>() {
    kernels::rms_norm(rows.data<T>(), g.data<T>(), static_cast<T>(eps), n, C, y.mutable_data<T>(),
                      r.mutable_data<T>());
  });
  return record<"rms_norm">(
      y, {rows, weight},
      [x = keep(rows), g = keep(g), kept = keep(r), eps](const Tensor& dy, NeedsGrad) -> Grads {
        if (grad_enabled()) {
          Grads all = norm_gradients(dy, x, g, eps, false);
          return {all[0], all[1]};
        }
        GradientBuffers to(x);
        dispatch_float(dy.dtype(), "rms_norm", [&]<class T>() {
          kernels::rms_norm_backward(x.get().data<T>(), g.get().data<T>(), kept.get().data<T>(),
                                     dy.data<T>(), row_count(dy), dy.dim(-1),
                                     to.dx.mutable_data<T>(), to.dg.mutable_data<T>(),
                                     to.partial.mutable_data<T>());
        });
        return {to.dx, to.dg};
      });
}

Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps) {
  check_defined("rms_norm", "x", x);
  const Tensor h = normalize(x, eps, false).h;
  return weight.defined() ? h * weight : h;
}

}  // namespace fovea
