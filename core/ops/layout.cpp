#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/sizes.h>

#include <algorithm>
#include <optional>

namespace fovea {
namespace {

// `shape` with -1 replaced so that the number of elements is that of x.
Shape complete_shape(const char* op, const Tensor& x, const Shape& shape) {
  check_defined(op, "x", x);
  Shape full = shape;
  int64_t free_axis = -1;
  for (int64_t d = 0; d < shape.rank(); ++d) {
    if (shape[d] < -1 || (shape[d] == -1 && free_axis >= 0))
      shape_error(op, "{} to {}: at most one size may be -1, the others must be 0 or more",
                  x.shape().str(), shape.str());
    if (shape[d] == -1) {
      free_axis = d;
      full[d] = 1;
    }
  }
  const int64_t known = full.numel(op);
  if (free_axis >= 0 && known > 0) full[free_axis] = x.numel() / known;
  if ((free_axis >= 0 && known == 0) || full.numel(op) != x.numel())
    shape_error(op, "{} to {}: the number of elements, {}, must stay the same", x.shape().str(),
                shape.str(), x.numel());
  return full;
}

// The strides of a view of x as `shape`, if there is one. Each contiguous run of x's axes must be
// split into axes of `shape` separately.
std::optional<Strides> view_strides(const Tensor& x, const Shape& shape) {
  if (x.is_contiguous() || x.numel() == 0) return contiguous_strides(shape);
  Strides strides = shape;
  int64_t d = shape.rank() - 1;  // the last axis of `shape` that has no stride yet
  int64_t run = 1;               // elements of the current run of x's axes
  int64_t run_stride = x.strides().back();
  for (int64_t a = x.rank() - 1; a >= 0; --a) {
    run *= x.shape()[a];
    const bool run_goes_on =
        a > 0 && (x.shape()[a - 1] == 1 || x.strides()[a - 1] == run * run_stride);
    if (run_goes_on) continue;
    int64_t placed = 1;
    for (; d >= 0 && (placed < run || shape[d] == 1); --d) {
      strides[d] = placed * run_stride;
      placed *= shape[d];
    }
    if (placed != run) return std::nullopt;
    if (a > 0) {
      run = 1;
      run_stride = x.strides()[a - 1];
    }
  }
  return d == -1 ? std::optional(strides) : std::nullopt;
}

Tensor dense_copy(const Tensor& x) { return without_graph(x).clone(); }

// y, a view or copy of x, recorded; the gradient is reshaped back.
Tensor record_reshape(const Tensor& x, Tensor y) {
  return record<"reshape">(std::move(y), {x},
                           any_strides([shape = x.shape()](const Tensor& dy, NeedsGrad) {
                             return Grads(reshape(dy, shape));
                           }));
}

void check_axes_differ(const char* op, const Dims& axes, int64_t rank, int64_t (&seen)[kMaxRank]) {
  std::fill(seen, seen + kMaxRank, -1);
  for (int64_t i = 0; i < axes.rank(); ++i) {
    int64_t& place = seen[normalize_axis(op, axes[i], rank)];
    if (place >= 0) index_error(op, "axes {}: axis {} is repeated", axes.str(), axes[i]);
    place = i;
  }
}

}  // namespace

// ---- Shape -------------------------------------------------------------------------------------

// y = x in row-major order, dx = dy in row-major order
Tensor reshape(const Tensor& x, const Shape& shape) {
  const Shape full = complete_shape("reshape", x, shape);
  if (const auto strides = view_strides(x, full))
    return record_reshape(x, alias(x, full, *strides));
  return record_reshape(x, alias(dense_copy(x), full, contiguous_strides(full)));
}

Tensor view(const Tensor& x, const Shape& shape) {
  const Shape full = complete_shape("view", x, shape);
  const auto strides = view_strides(x, full);
  if (!strides)
    shape_error("view", "{} with strides {} to {}: needs a copy: use reshape()", x.shape().str(),
                x.strides().str(), full.str());
  return record_reshape(x, alias(x, full, *strides));
}

Tensor squeeze(const Tensor& x) {
  check_defined("squeeze", "x", x);
  Shape shape;
  Strides strides;
  for (int64_t d = 0; d < x.rank(); ++d) {
    if (x.shape()[d] == 1) continue;
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
  }
  return record_reshape(x, alias(x, shape, strides));
}

Tensor squeeze(const Tensor& x, int64_t axis) {
  check_defined("squeeze", "x", x);
  const int64_t d = normalize_axis("squeeze", axis, x.rank());
  Shape shape = x.shape();
  Strides strides = x.strides();
  if (shape[d] == 1) {
    shape.erase(d);
    strides.erase(d);
  }
  return record_reshape(x, alias(x, shape, strides));
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  check_defined("unsqueeze", "x", x);
  const int64_t d = normalize_axis("unsqueeze", axis, x.rank() + 1);
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape.insert(d, 1);
  strides.insert(d, 1);
  return record_reshape(x, alias(x, shape, strides));
}

// y[..., i, ...] = x[..., 0, ...] along every expanded axis, dx = sum of dy over those axes
Tensor expand(const Tensor& x, const Shape& shape) {
  check_defined("expand", "x", x);
  const int64_t added = shape.rank() - x.rank();
  if (added < 0)
    shape_error("expand", "{} to {}: axes cannot be removed", x.shape().str(), shape.str());
  Shape full = shape;
  Strides strides = shape;
  for (int64_t d = 0; d < shape.rank(); ++d) {
    const int64_t own = d < added ? 1 : x.shape()[d - added];
    if (shape[d] == -1 && d >= added) full[d] = own;
    if (full[d] < 0 || (own != 1 && own != full[d]))
      shape_error("expand", "{} to {}: only an axis of size 1 can be expanded", x.shape().str(),
                  shape.str());
    strides[d] = own == 1 && full[d] != 1 ? 0 : d < added ? 1 : x.strides()[d - added];
  }
  static_cast<void>(full.numel("expand"));
  return record<"expand">(
      alias(x, full, strides), {x},
      [own = x.shape()](const Tensor& dy, NeedsGrad) { return Grads(sum_to(dy, own)); });
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  check_defined("broadcast_to", "x", x);
  if (std::find(shape.begin(), shape.end(), -1) != shape.end())
    shape_error("broadcast_to", "{} to {}: sizes must not be negative", x.shape().str(),
                shape.str());
  return expand(x, shape);
}

// ---- Order -------------------------------------------------------------------------------------

Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1) {
  check_defined("transpose", "x", x);
  const int64_t a = normalize_axis("transpose", axis0, x.rank());
  const int64_t b = normalize_axis("transpose", axis1, x.rank());
  Shape shape = x.shape();
  Strides strides = x.strides();
  std::swap(shape[a], shape[b]);
  std::swap(strides[a], strides[b]);
  return record<"transpose">(
      alias(x, shape, strides), {x},
      any_strides([a, b](const Tensor& dy, NeedsGrad) { return Grads(transpose(dy, a, b)); }));
}

// dx = dy permuted by the inverse
Tensor permute(const Tensor& x, const Dims& axes) {
  check_defined("permute", "x", x);
  if (axes.rank() != x.rank())
    shape_error("permute", "{} by axes {}: must contain every axis once", x.shape().str(),
                axes.str());
  int64_t place[kMaxRank];
  check_axes_differ("permute", axes, x.rank(), place);
  Shape shape = x.shape();
  Strides strides = x.strides();
  for (int64_t d = 0; d < x.rank(); ++d) {
    shape[place[d]] = x.shape()[d];
    strides[place[d]] = x.strides()[d];
  }
  const Dims inverse(place, place + x.rank());
  return record<"permute">(
      alias(x, shape, strides), {x},
      any_strides([inverse](const Tensor& dy, NeedsGrad) { return Grads(permute(dy, inverse)); }));
}

// y[i] = x[n - 1 - i], dx[i] = dy[n - 1 - i]
Tensor flip(const Tensor& x, const Dims& axes) {
  check_defined("flip", "x", x);
  int64_t place[kMaxRank];
  check_axes_differ("flip", axes, x.rank(), place);
  Strides strides = x.strides();
  int64_t last = 0;
  for (int64_t d = 0; d < x.rank(); ++d) {
    if (place[d] < 0 || x.numel() == 0) continue;
    last += (x.shape()[d] - 1) * strides[d];
    strides[d] = -strides[d];
  }
  Tensor y = dense_copy(alias(x, x.shape(), strides, last));
  return record<"flip">(std::move(y), {x},
                        [axes](const Tensor& dy, NeedsGrad) { return Grads(flip(dy, axes)); });
}

// ---- Parts -------------------------------------------------------------------------------------

namespace {

// before[d] and after[d] elements `value` around every axis d; dx = the inner part of dy.
Tensor padded(const Tensor& x, const Dims& before, const Dims& after, double value) {
  Shape shape = x.shape();
  for (int64_t d = 0; d < x.rank(); ++d)
    shape[d] = checked_add("pad", shape[d], checked_add("pad", before[d], after[d]));
  static_cast<void>(shape.numel("pad"));
  Tensor y = full(shape, value, x.dtype());
  int64_t offset = 0;
  for (int64_t d = 0; d < x.rank(); ++d) offset += before[d] * y.strides()[d];
  if (x.numel() > 0) alias(y, x.shape(), y.strides(), offset).copy_from(x);
  return record<"pad">(std::move(y), {x}, [before, inner = x.shape()](const Tensor& dy, NeedsGrad) {
    Tensor dx = dy;
    for (int64_t d = 0; d < inner.rank(); ++d)
      if (inner[d] != dx.shape()[d]) dx = narrow(dx, d, before[d], inner[d]);
    return Grads(dx);
  });
}

// Pads one axis with zeros.
Tensor pad_axis(const Tensor& x, int64_t axis, int64_t before, int64_t after) {
  Dims none = x.shape();
  std::fill(none.begin(), none.end(), 0);
  Dims all_before = none, all_after = none;
  all_before[axis] = before;
  all_after[axis] = after;
  return padded(x, all_before, all_after, 0.0);
}

// y[i] = x[start + step * i] for i < length.
// dx = dy with step - 1 zeros after every element, and zeros before and after.
Tensor strided_part(const Tensor& x, int64_t axis, int64_t start, int64_t length, int64_t step) {
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[axis] = length;
  const int64_t offset = length > 0 ? start * strides[axis] : 0;
  strides[axis] = checked_mul("slice", strides[axis], step);
  return record<"slice">(
      alias(x, shape, strides, offset), {x},
      [axis, start, length, step, shape = x.shape()](const Tensor& dy, NeedsGrad) {
        if (step == 1) return Grads(pad_axis(dy, axis, start, shape[axis] - start - length));
        Shape spaced = dy.shape();
        spaced[axis] = length * step;
        const Tensor columns = pad_axis(unsqueeze(dy, axis + 1), axis + 1, 0, step - 1);
        const Tensor rows =
            narrow(reshape(columns, spaced), axis, 0, std::min(length * step, shape[axis] - start));
        return Grads(pad_axis(rows, axis, start, shape[axis] - start - rows.shape()[axis]));
      });
}

}  // namespace

Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t end, int64_t step) {
  check_defined("slice", "x", x);
  const int64_t d = normalize_axis("slice", axis, x.rank());
  const int64_t n = x.shape()[d];
  if (step < 1) value_error("slice", "step {}: must be 1 or more", step);
  const auto pulled_in = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  const int64_t first = pulled_in(start), last = std::max(first, pulled_in(end));
  if (step >= last - first) return strided_part(x, d, first, std::min<int64_t>(1, last - first), 1);
  return strided_part(x, d, first, (last - first + step - 1) / step, step);
}

Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length) {
  check_defined("narrow", "x", x);
  const int64_t d = normalize_axis("narrow", axis, x.rank());
  if (start < 0 || length < 0 || start > x.shape()[d] - length)
    index_error("narrow", "{} elements from {} on axis {} of {}: must be within the axis", length,
                start, axis, x.shape().str());
  return strided_part(x, d, start, length, 1);
}

// y = x[i],   dx[i] = dy, else 0
Tensor select(const Tensor& x, int64_t axis, int64_t index) {
  check_defined("select", "x", x);
  const int64_t d = normalize_axis("select", axis, x.rank());
  const int64_t n = x.shape()[d];
  if (index < -n || index >= n)
    index_error("select", "index {} on axis {} of {}: must be in [{}, {})", index, axis,
                x.shape().str(), -n, n);
  const int64_t i = index < 0 ? index + n : index;
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape.erase(d);
  strides.erase(d);
  return record<"select">(alias(x, shape, strides, i * x.strides()[d]), {x},
                          [d, i, n](const Tensor& dy, NeedsGrad) {
                            return Grads(pad_axis(unsqueeze(dy, d), d, i, n - 1 - i));
                          });
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& pads, double value) {
  check_defined("pad", "x", x);
  const int64_t n = static_cast<int64_t>(pads.size());
  if (n % 2 != 0 || n / 2 > x.rank())
    shape_error("pad", "{} pads for {}: must be two per axis, from the last axis on", n,
                x.shape().str());
  Dims before = x.shape();
  std::fill(before.begin(), before.end(), 0);
  Dims after = before;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t amount = pads[static_cast<std::size_t>(i)];
    if (amount < 0) value_error("pad", "pads[{}] = {}: must not be negative", i, amount);
    (i % 2 == 0 ? before : after)[x.rank() - 1 - i / 2] = amount;
  }
  return padded(x, before, after, value);
}

}  // namespace fovea
