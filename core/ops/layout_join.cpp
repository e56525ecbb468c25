// The ops of layout.h that join or split tensors.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/sizes.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea {
namespace {

void check_joinable(const char* op, const std::vector<Tensor>& tensors) {
  check_all_defined(op, "tensor", tensors);
  if (tensors.empty()) value_error(op, "no tensors: there must be at least one");
  for (std::size_t i = 1; i < tensors.size(); ++i)
    if (tensors[i].dtype() != tensors[0].dtype())
      dtype_error(op, "tensor 0 is {} and tensor {} is {}: dtypes must be equal",
                  name_of(tensors[0].dtype()), i, name_of(tensors[i].dtype()));
}

// Writes x into y from index `start` of y's axis on; the other axes are x's.
void write_part(const Tensor& y, int64_t axis, int64_t start, const Tensor& x) {
  if (x.numel() > 0) alias(y, x.shape(), y.strides(), start * y.strides()[axis]).copy_from(x);
}

// The gradients of several outputs; missing ones are zeros that share one element.
std::vector<Tensor> with_zeros(std::span<const Tensor> dys, const std::vector<Shape>& shapes) {
  std::vector<Tensor> all(dys.begin(), dys.end());
  DType dtype = DType::f32;
  for (const Tensor& dy : dys)
    if (dy.defined()) dtype = dy.dtype();
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i].defined()) all[i] = expand(zeros({}, dtype), shapes[i]);
  return all;
}

// The concatenation of parts that are already adjacent in one block, as a view; else undefined. All
// parts must be defined.
Tensor already_joined(const std::vector<Tensor>& parts, int64_t axis, const Shape& whole) {
  const Tensor& first = parts[0];
  const int64_t step = first.strides()[axis] * static_cast<int64_t>(size_of(first.dtype()));
  int64_t start = 0;
  for (const Tensor& x : parts) {
    if (x.impl()->storage != first.impl()->storage || !(x.strides() == first.strides()) ||
        x.raw_data() != first.raw_data() + start * step || x.numel() == 0)
      return {};
    start += x.shape()[axis];
  }
  return alias(first, whole, first.strides());
}

// A view with strides 0 may have more parts than fit in memory.
void check_parts(const char* op, int64_t n) {
  detail::check_elements(op, "parts", n, sizeof(Tensor) + sizeof(TensorImpl));
}

std::vector<Shape> shapes_of(const std::vector<Tensor>& tensors) {
  std::vector<Shape> shapes;
  for (const Tensor& x : tensors) shapes.push_back(x.shape());
  return shapes;
}

}  // namespace

// y = [x0, x1, ...],   dx0, dx1, ... = the parts of dy
Tensor concat(const std::vector<Tensor>& tensors, int64_t axis) {
  check_joinable("concat", tensors);
  const Shape& first = tensors[0].shape();
  const int64_t d = normalize_axis("concat", axis, first.rank());
  Shape shape = first;
  std::vector<int64_t> starts{0};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Shape& own = tensors[i].shape();
    Shape expected = first;
    if (own.rank() == first.rank()) expected[d] = own[d];
    if (!(own == expected))
      shape_error("concat", "tensor 0 {} and tensor {} {}: sizes must be equal except on axis {}",
                  first.str(), i, own.str(), d);
    starts.push_back(checked_add("concat", starts.back(), own[d]));
  }
  shape[d] = starts.back();
  Tensor y = empty(shape, tensors[0].dtype());
  for (std::size_t i = 0; i < tensors.size(); ++i) write_part(y, d, starts[i], tensors[i]);
  return record<"concat">(std::move(y), tensors,
                          [d, starts](const Tensor& dy, NeedsGrad needs_grad) {
                            Grads grads(starts.size() - 1);
                            for (std::size_t i = 0; i < grads.size(); ++i)
                              if (needs_grad[i])
                                grads[i] = narrow(dy, d, starts[i], starts[i + 1] - starts[i]);
                            return grads;
                          });
}

// y[i] = x_i,   dx_i = dy[i]
Tensor stack(const std::vector<Tensor>& tensors, int64_t axis) {
  check_joinable("stack", tensors);
  const Shape& own = tensors[0].shape();
  const int64_t d = normalize_axis("stack", axis, own.rank() + 1);
  for (std::size_t i = 1; i < tensors.size(); ++i)
    if (!(tensors[i].shape() == own))
      shape_error("stack", "tensor 0 {} and tensor {} {}: shapes must be equal", own.str(), i,
                  tensors[i].shape().str());
  Shape shape = own;
  shape.insert(d, static_cast<int64_t>(tensors.size()));
  Tensor y = empty(shape, tensors[0].dtype());
  for (std::size_t i = 0; i < tensors.size(); ++i)
    write_part(y, d, static_cast<int64_t>(i), unsqueeze(without_graph(tensors[i]), d));
  return record<"stack">(std::move(y), tensors,
                         [d, n = tensors.size()](const Tensor& dy, NeedsGrad needs_grad) {
                           Grads grads(n);
                           for (std::size_t i = 0; i < n; ++i)
                             if (needs_grad[i]) grads[i] = select(dy, d, static_cast<int64_t>(i));
                           return grads;
                         });
}

// [y0, y1, ...] = x,   dx = [dy0, dy1, ...], written once, or not copied if already adjacent
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis) {
  check_defined("split", "x", x);
  const int64_t d = normalize_axis("split", axis, x.rank());
  int64_t left = x.shape()[d];
  bool fits = true;
  for (const int64_t n : sizes) {
    fits = fits && n >= 0 && n <= left;
    if (fits) left -= n;
  }
  if (!fits || left != 0)
    shape_error("split", "{} on axis {} into [{}]: the sizes must be 0 or more and add up to {}",
                x.shape().str(), axis, fmt::join(sizes, ", "), x.shape()[d]);
  std::vector<Tensor> parts;
  int64_t start = 0;
  Shape shape = x.shape();
  for (const int64_t size : sizes) {
    shape[d] = size;
    parts.push_back(alias(x, shape, x.strides(), size > 0 ? start * x.strides()[d] : 0));
    start += size;
  }
  if (parts.empty()) return parts;
  auto shapes = shapes_of(parts);
  return record_outputs<"split">(std::move(parts), {x},
                                 any_strides([d, shapes = std::move(shapes), whole = x.shape()](
                                                 std::span<const Tensor> dys, NeedsGrad) {
                                   const std::vector<Tensor> all = with_zeros(dys, shapes);
                                   if (!grad_enabled())
                                     if (Tensor joined = already_joined(all, d, whole);
                                         joined.defined())
                                       return Grads(std::move(joined));
                                   return Grads(concat(all, d));
                                 }));
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis) {
  check_defined("split", "x", x);
  const int64_t n = x.shape()[normalize_axis("split", axis, x.rank())];
  if (size < 1) value_error("split", "size {}: must be 1 or more", size);
  check_parts("split", n / size);
  std::vector<int64_t> sizes;
  for (int64_t start = 0; start < n; start += size) sizes.push_back(std::min(size, n - start));
  if (sizes.empty()) sizes.push_back(0);
  return split(x, sizes, axis);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t n, int64_t axis) {
  check_defined("chunk", "x", x);
  if (n < 1) value_error("chunk", "{} chunks: must be 1 or more", n);
  const int64_t size = x.shape()[normalize_axis("chunk", axis, x.rank())];
  return split(x, std::max<int64_t>(1, size / n + (size % n != 0)), axis);
}

// y_i = x[i],   dx[i] = dy_i, written once
std::vector<Tensor> unbind(const Tensor& x, int64_t axis) {
  check_defined("unbind", "x", x);
  const int64_t d = normalize_axis("unbind", axis, x.rank());
  check_parts("unbind", x.shape()[d]);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < x.shape()[d]; ++i) parts.push_back(select(without_graph(x), d, i));
  if (parts.empty()) return parts;
  auto shapes = shapes_of(parts);
  return record_outputs<"unbind">(
      std::move(parts), {x},
      [d, shapes = std::move(shapes)](std::span<const Tensor> dys, NeedsGrad) {
        return Grads(stack(with_zeros(dys, shapes), d));
      });
}

}  // namespace fovea
