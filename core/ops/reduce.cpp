#include <fovea/core/autograd.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/reduce.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea {
namespace {

// ---- Layout for the kernels: (outer, reduced, inner) -------------------------------------------

// The shapes of one reduction.
struct Reduction {
  bool reduced[kMaxRank] = {};
  Shape kept;    // with size 1 where reduced: broadcasts against x
  Shape result;  // kept, or without the reduced axes
};

Reduction plan(const char* op, const Tensor& x, const Axes& axes, bool keepdim) {
  check_defined(op, "x", x);
  Reduction r;
  for (const int64_t axis : axes) {
    bool& reduced = r.reduced[normalize_axis(op, axis, x.rank())];
    if (reduced) index_error(op, "axes {}: axis {} is repeated", axes.str(), axis);
    reduced = true;
  }
  if (axes.rank() == 0) std::fill(r.reduced, r.reduced + x.rank(), true);
  for (int64_t d = 0; d < x.rank(); ++d) {
    r.kept.push_back(r.reduced[d] ? 1 : x.shape()[d]);
    if (!r.reduced[d] || keepdim) r.result.push_back(r.kept[d]);
  }
  return r;
}

// x as a dense tensor with adjacent reduced axes. Not recorded.
struct DenseBlock {
  Tensor x;
  kernels::ReduceSizes sizes;
};

DenseBlock dense_block(const Tensor& x, const Reduction& r) {
  kernels::ReduceSizes sizes{1, 1, 1};
  bool neighbors = true;
  Dims kept_first, reduced_last;
  for (int64_t d = 0; d < x.rank(); ++d) {
    (r.reduced[d] ? reduced_last : kept_first).push_back(d);
    const int64_t size = x.shape()[d];
    if (size == 1) continue;
    if (r.reduced[d]) {
      neighbors = neighbors && sizes.inner == 1;
      sizes.reduced *= size;
    } else {
      (sizes.reduced == 1 ? sizes.outer : sizes.inner) *= size;
    }
  }
  if (neighbors) return {x.is_contiguous() ? x : without_graph(x).contiguous(), sizes};
  for (const int64_t d : reduced_last) kept_first.push_back(d);
  return {permute(without_graph(x), kept_first).contiguous(), {r.kept.numel(), sizes.reduced, 1}};
}

// dy of a reduction, broadcast to the input's shape.
Tensor spread(const Tensor& dy, const Shape& kept, const Shape& shape) {
  if (dy.numel() == 1 && !grad_enabled()) return full(shape, dy.item<double>(), dy.dtype());
  return expand(reshape(dy, kept), shape);
}

// ---- Largest and smallest ----------------------------------------------------------------------

enum class Extreme { largest, smallest };

struct Found {
  Tensor value, index;  // of the result's shape
};

Found find(const char* op, Extreme extreme, const Tensor& x, const Reduction& r) {
  const DenseBlock block = dense_block(x, r);
  Found found{empty(r.result, x.dtype()), empty(r.result, DType::i64)};
  if (block.sizes.reduced == 0)
    shape_error(op, "{}: the reduced axes must not be empty", x.shape().str());
  dispatch_number(x.dtype(), op, [&]<class T>() {
    (extreme == Extreme::largest ? kernels::largest<T>
                                 : kernels::smallest<T>)(block.x.data<T>(), block.sizes,
                                                         found.value.mutable_data<T>(),
                                                         found.index.mutable_data<int64_t>());
  });
  return found;
}

// y = max x,   dx = dy / (number of x = y) where x = y, else 0;   saves x and y
template <detail::OpName Name>
Tensor extreme_value(Extreme extreme, const Tensor& x, const Axes& axes, bool keepdim) {
  const Reduction r = plan(Name.chars, x, axes, keepdim);
  return record<Name>(find(Name.chars, extreme, x, r).value, {x},
                      [x = keep(x), kept = r.kept](const Tensor& dy, const Tensor& y, NeedsGrad) {
                        const Tensor at = eq(x, reshape(y, kept)).to(dy.dtype());
                        return Grads(at * (reshape(dy, kept) / sum_to(at, kept)));
                      });
}

// y = x[i], i = argmax x,   dx[i] = dy, else 0;   saves i
template <detail::OpName Name>
std::pair<Tensor, Tensor> extreme_with_index(Extreme extreme, const Tensor& x, int64_t axis,
                                             bool keepdim) {
  const Reduction r = plan(Name.chars, x, axis, keepdim);
  const Found found = find(Name.chars, extreme, x, r);
  Tensor value = record<Name>(found.value, {x},
                              [index = keep(found.index), axis, kept = r.kept, shape = x.shape()](
                                  const Tensor& dy, NeedsGrad) {
                                return Grads(scatter_add(zeros(shape, dy.dtype()), axis,
                                                         reshape(index, kept), reshape(dy, kept)));
                              });
  return {std::move(value), found.index};
}

template <detail::OpName Name>
Tensor extreme_index(Extreme extreme, const Tensor& x, int64_t axis, bool keepdim) {
  return record_cut<Name>(find(Name.chars, extreme, x, plan(Name.chars, x, axis, keepdim)).index,
                          {x});
}

// y[r] = sum of x[s] over s <= r,   dx[s] = sum of dy[r] over r >= s;   `reverse` swaps the two
Tensor scan(const Tensor& x, int64_t axis, bool reverse) {
  const DenseBlock block = dense_block(x, plan("cumsum", x, axis, true));
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_number(x.dtype(), "cumsum", [&]<class T>() {
    kernels::cumsum(block.x.data<T>(), block.sizes, reverse, y.mutable_data<T>());
  });
  return record<"cumsum">(std::move(y), {x}, [axis, reverse](const Tensor& dy, NeedsGrad) {
    return Grads(scan(dy, axis, !reverse));
  });
}

}  // namespace

// ---- Sums --------------------------------------------------------------------------------------

// y = sum x,   dx = dy
Tensor sum(const Tensor& x, const Axes& axes, bool keepdim) {
  check_defined("sum", "x", x);
  if (x.dtype() == DType::boolean) return sum(x.to(DType::i64), axes, keepdim);
  const Reduction r = plan("sum", x, axes, keepdim);
  const DenseBlock block = dense_block(x, r);
  Tensor y = empty(r.result, x.dtype());
  dispatch_number(x.dtype(), "sum", [&]<class T>() {
    kernels::sum(block.x.data<T>(), block.sizes, y.mutable_data<T>());
  });
  return record<"sum">(std::move(y), {x},
                       [kept = r.kept, shape = x.shape()](const Tensor& dy, NeedsGrad) {
                         return Grads(spread(dy, kept, shape));
                       });
}

// y = sum x / n,   dx = dy / n
Tensor mean(const Tensor& x, const Axes& axes, bool keepdim) {
  const Reduction r = plan("mean", x, axes, keepdim);
  const DenseBlock block = dense_block(x, r);
  Tensor y = empty(r.result, x.dtype());
  dispatch_float(x.dtype(), "mean", [&]<class T>() {
    kernels::mean(block.x.data<T>(), block.sizes, y.mutable_data<T>());
  });
  const double n = static_cast<double>(block.sizes.reduced);
  return record<"mean">(std::move(y), {x},
                        [kept = r.kept, shape = x.shape(), n](const Tensor& dy, NeedsGrad) {
                          return Grads(spread(dy / n, kept, shape));
                        });
}

namespace {

// The mean over the axes that have size 1 in `kept` and not in x.
Tensor mean_to(const Tensor& x, const Shape& kept) {
  Axes axes;
  for (int64_t d = 0; d < x.rank(); ++d)
    if (x.shape()[d] != kept[d]) axes.push_back(d);
  return axes.rank() > 0 ? mean(x, axes, true) : x;
}

}  // namespace

// y = sum (x - mean x)^2 / (n - c),   dx = 2 dy (x - mean x) / (n - c);   saves x
Tensor var(const Tensor& x, const Axes& axes, double correction, bool keepdim) {
  const Reduction r = plan("var", x, axes, keepdim);
  const DenseBlock block = dense_block(x, r);
  Tensor y = empty(r.result, x.dtype());
  dispatch_float(x.dtype(), "var", [&]<class T>() {
    kernels::variance(block.x.data<T>(), block.sizes, correction, y.mutable_data<T>());
  });
  const double n = static_cast<double>(block.sizes.reduced);
  return record<"var">(
      std::move(y), {x}, [x = keep(x), kept = r.kept, n, correction](const Tensor& dy, NeedsGrad) {
        // Centered twice: the rounding of a large mean is not negligible for small deviations.
        const Tensor near = x - mean_to(x, kept), centered = near - mean_to(near, kept);
        return Grads(reshape(dy, kept) * centered * (2.0 / std::max(0.0, n - correction)));
      });
}

namespace {

// From this value on, the rounding of a log-sum-exp changes exp(x - y) noticeably.
constexpr double kLargeShift = 1024;

bool any_large(const Tensor& shift) {
  if (kernels::dry_run) return false;
  const Tensor dense = without_graph(shift).contiguous();
  return dispatch_float(shift.dtype(), "logsumexp", [&]<class T>() {
    const T* const values = dense.data<T>();
    return std::any_of(values, values + dense.numel(), [](T v) {
      return std::isfinite(v) && std::abs(v) >= static_cast<T>(kLargeShift);
    });
  });
}

// exp(x - shift); rows with a large, rounded shift are divided by their sums.
Tensor probabilities(const Tensor& x, const Tensor& shift) {
  const Tensor p = exp(x - shift);
  if (!any_large(shift)) return p;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Tensor size = abs(without_graph(shift));
  const Tensor large = logical_and(size >= kLargeShift, size < infinity);
  return p / where(large, sum_to(p, shift.shape()), 1.0);
}

}  // namespace

// y = log sum exp x,   dx = dy exp(x - y);   saves x and y
Tensor logsumexp(const Tensor& x, const Axes& axes, bool keepdim) {
  const Reduction r = plan("logsumexp", x, axes, keepdim);
  const DenseBlock block = dense_block(x, r);
  Tensor y = empty(r.result, x.dtype());
  dispatch_float(x.dtype(), "logsumexp", [&]<class T>() {
    kernels::logsumexp(block.x.data<T>(), block.sizes, y.mutable_data<T>());
  });
  return record<"logsumexp">(
      std::move(y), {x},
      [x = keep(x), kept = r.kept](const Tensor& dy, const Tensor& result, NeedsGrad) {
        // Where y = -inf every x is -inf, and exp(x - 0) is 0 as required.
        const Tensor top = reshape(result, kept);
        const Tensor shift = where(eq(top, -std::numeric_limits<double>::infinity()), 0.0, top);
        return Grads(reshape(dy, kept) * probabilities(x, shift));
      });
}

Tensor cumsum(const Tensor& x, int64_t axis) { return scan(x, axis, false); }

Tensor sum_to(const Tensor& grad, const Shape& shape) {
  check_defined("sum_to", "grad", grad);
  if (grad.shape() == shape) return grad;
  const int64_t added = grad.rank() - shape.rank();
  bool broadcasts = added >= 0;
  Axes axes;
  for (int64_t d = 0; broadcasts && d < grad.rank(); ++d) {
    const int64_t size = d < added ? 1 : shape[d - added];
    if (size == grad.shape()[d]) continue;
    axes.push_back(d);
    broadcasts = size == 1;
  }
  if (!broadcasts)
    shape_error("sum_to", "{} to {}: the second must broadcast to the first", grad.shape().str(),
                shape.str());
  const Tensor summed = axes.rank() > 0 ? sum(grad, axes) : grad;
  return summed.shape() == shape ? summed : reshape(summed, shape);
}

// ---- Largest and smallest ----------------------------------------------------------------------

Tensor max(const Tensor& x, const Axes& axes, bool keepdim) {
  return extreme_value<"max">(Extreme::largest, x, axes, keepdim);
}
Tensor min(const Tensor& x, const Axes& axes, bool keepdim) {
  return extreme_value<"min">(Extreme::smallest, x, axes, keepdim);
}

std::pair<Tensor, Tensor> max_with_index(const Tensor& x, int64_t axis, bool keepdim) {
  return extreme_with_index<"max_with_index">(Extreme::largest, x, axis, keepdim);
}
std::pair<Tensor, Tensor> min_with_index(const Tensor& x, int64_t axis, bool keepdim) {
  return extreme_with_index<"min_with_index">(Extreme::smallest, x, axis, keepdim);
}

Tensor argmax(const Tensor& x) {
  check_defined("argmax", "x", x);
  return argmax(reshape(x, {x.numel()}), 0);
}
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim) {
  return extreme_index<"argmax">(Extreme::largest, x, axis, keepdim);
}
Tensor argmin(const Tensor& x) {
  check_defined("argmin", "x", x);
  return argmin(reshape(x, {x.numel()}), 0);
}
Tensor argmin(const Tensor& x, int64_t axis, bool keepdim) {
  return extreme_index<"argmin">(Extreme::smallest, x, axis, keepdim);
}

}  // namespace fovea
