#include <fovea/core/autograd.h>
#include <fovea/core/kernels/sparse_softmax.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rows_detail.h>
#include <fovea/core/ops/sparse_softmax.h>

namespace fovea {
namespace {

using detail::row_count;
using kernels::SparseSoftmax;

void check_rows(std::string_view op, const Tensor& x) {
  check_defined(op, "x", x);
  if (x.rank() == 0) shape_error(op, "x {}: must have at least one axis", x.shape().str());
}

// w = 1 on the support for sparsemax, sqrt(y) for entmax-1.5.
Tensor slopes(SparseSoftmax kind, const Tensor& y) {
  const Tensor inside = gt(y, 0.0);
  if (kind == SparseSoftmax::sparsemax) return inside.to(y.dtype());
  return where(inside, sqrt(where(inside, y, 1.0)), 0.0);  // no infinite derivative at 0
}

// dx = w (dy - sum(w dy) / sum(w))
Grads backward(SparseSoftmax kind, const Tensor& dy, const Tensor& y) {
  if (grad_enabled()) {
    const Tensor w = slopes(kind, y), total = sum(w, -1, true);
    const Tensor given = detail::all_finite(dy) ? dy : where(eq(w, 0.0), 0.0, dy);
    return w * (given - sum(w * given, -1, true) / where(eq(total, 0.0), 1.0, total));
  }
  Tensor dx = empty(y.shape(), y.dtype());
  dispatch_float(y.dtype(), "sparse_softmax", [&]<class T>() {
    kernels::sparse_softmax_backward(kind, y.data<T>(), dy.data<T>(), row_count(y), y.dim(-1),
                                     dx.mutable_data<T>());
  });
  return dx;
}

// kept: undefined, or of x's shape
Tensor forward(std::string_view op, SparseSoftmax kind, const Tensor& x, const Tensor& kept) {
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), op, [&]<class T>() {
    kernels::sparse_softmax(kind, x.data<T>(), kept.defined() ? kept.data<bool>() : nullptr,
                            row_count(x), x.dim(-1), y.mutable_data<T>());
  });
  return y;
}

Tensor record_sparsemax(const Tensor& rows, const Tensor& kept) {
  return record<"sparsemax">(forward("sparsemax", SparseSoftmax::sparsemax, rows, kept), {rows},
                             [](const Tensor& dy, const Tensor& y, NeedsGrad) -> Grads {
                               return backward(SparseSoftmax::sparsemax, dy, y);
                             });
}

Tensor record_entmax15(const Tensor& rows, const Tensor& kept) {
  return record<"entmax15">(forward("entmax15", SparseSoftmax::entmax15, rows, kept), {rows},
                            [](const Tensor& dy, const Tensor& y, NeedsGrad) -> Grads {
                              return backward(SparseSoftmax::entmax15, dy, y);
                            });
}

// `keep` expanded to x's shape.
Tensor kept_entries(std::string_view op, const Tensor& x, const Tensor& keep) {
  check_defined(op, "x", x, "keep", keep);
  if (keep.dtype() != DType::boolean)
    dtype_error(op, "keep is {}: must be bool", name_of(keep.dtype()));
  if (!(broadcast_shapes(op, x.shape(), keep.shape()) == x.shape()))
    shape_error(op, "x {} and keep {}: keep must broadcast to x's shape", x.shape().str(),
                keep.shape().str());
  return broadcast_to(keep, x.shape()).contiguous();
}

// The mask as a tensor that broadcasts to the scores x.
Tensor kept_scores(std::string_view op, const Tensor& x, const Mask& mask) {
  check_defined(op, "x", x);
  const std::int64_t rank = x.rank();
  if (rank < 2 || rank > 4)
    shape_error(op, "x {}: must be (T, S), (B, T, S) or (B, H, T, S)", x.shape().str());
  if (rank == 4) return mask.to_tensor({x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  const Tensor kept = mask.to_tensor(rank == 2 ? 1 : x.dim(0), x.dim(-2), x.dim(-1));
  return rank == 2 ? squeeze(kept, 0) : kept;  // (T, S), (B or 1, T, S)
}

// For every element i of each row, statistics of the elements j with x_j >= x_i: avoids a sort in
// the reference implementations.
struct Larger {
  Tensor is, count;  // (..., S, S) as 0 or 1, (..., S)
  explicit Larger(const Tensor& x)
      : is(ge(unsqueeze(without_graph(x), -2), unsqueeze(without_graph(x), -1)).to(x.dtype())),
        count(sum(is, -1)) {}
  Tensor total(const Tensor& terms) const {
    return sum(is * terms, -1);
  }  // (..., S, S) -> (..., S)
};

}  // namespace

// y_i = max(x_i - tau, 0)      dx = s (dy - sum(s dy) / sum(s)), s = [y > 0]      saves y
Tensor sparsemax(const Tensor& x) {
  check_rows("sparsemax", x);
  return record_sparsemax(x.contiguous(), {});
}

// y_i = max(x_i / 2 - tau, 0)^2      dx = w (dy - sum(w dy) / sum(w)), w = sqrt(y)      saves y
Tensor entmax15(const Tensor& x) {
  check_rows("entmax15", x);
  return record_entmax15(x.contiguous(), {});
}

Tensor masked_sparsemax(const Tensor& x, const Tensor& keep) {
  check_rows("masked_sparsemax", x);
  return record_sparsemax(x.contiguous(), kept_entries("masked_sparsemax", x, keep));
}

Tensor masked_entmax15(const Tensor& x, const Tensor& keep) {
  check_rows("masked_entmax15", x);
  return record_entmax15(x.contiguous(), kept_entries("masked_entmax15", x, keep));
}

Tensor masked_sparsemax(const Tensor& x, const Mask& mask) {
  return masked_sparsemax(x, kept_scores("masked_sparsemax", x, mask));
}

Tensor masked_entmax15(const Tensor& x, const Mask& mask) {
  return masked_entmax15(x, kept_scores("masked_entmax15", x, mask));
}

namespace {

// x - max x, clamped to `lowest`, which is far outside the support: avoids overflow for large
// values and -inf, and does not change the result.
Tensor below_top(const Tensor& x, double lowest) {
  return clamp(x - max(without_graph(x), -1, true), lowest, 0);
}

}  // namespace

// i is in the support if 1 + k x_i > sum of the k elements that are not smaller.
Tensor sparsemax_reference(const Tensor& scores) {
  check_defined("sparsemax", "x", scores);
  const Tensor x = below_top(scores, -2), z = without_graph(x);
  const Larger larger(z);
  const Tensor inside = gt(larger.count * z + 1.0, larger.total(unsqueeze(z, -2)));
  const Tensor s = inside.to(x.dtype());
  const Tensor tau = (sum(s * x, -1, true) - 1.0) / sum(s, -1, true);
  return where(inside, x - tau, 0.0 * z);  // NaN where x is
}

// i is in the support if x_i / 2 is above the tau of the elements that are not smaller.
Tensor entmax15_reference(const Tensor& scores) {
  check_defined("entmax15", "x", scores);
  const Tensor x = below_top(scores, -4);
  const auto threshold = [](const Tensor& mean, const Tensor& deviation, const Tensor& count) {
    return mean - sqrt(clamp((1.0 - deviation) / count, 0.0, 1.0));
  };
  const Tensor half = x / 2.0, z = without_graph(half);
  const Larger larger(z);
  const Tensor row = unsqueeze(z, -2), means = larger.total(row) / larger.count;
  const Tensor deviations = larger.total(square(row - unsqueeze(means, -1)));
  const Tensor inside = le(threshold(means, deviations, larger.count), z);
  const Tensor s = inside.to(x.dtype()), count = sum(s, -1, true);
  const Tensor mean = sum(s * half, -1, true) / count;
  const Tensor tau = threshold(mean, sum(s * square(half - mean), -1, true), count);
  return where(inside, square(half - tau), 0.0 * z);  // NaN where x is
}

}  // namespace fovea
