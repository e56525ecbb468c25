#include <fovea/core/autograd.h>
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>

#include <utility>
#include <vector>

namespace fovea {
namespace {

using kernels::Trans;

constexpr Trans operator!(Trans t) { return t == Trans::yes ? Trans::no : Trans::yes; }

// The last two axes of x, or their transpose, as a matrix; the leading axes are the batch.
struct Factor {
  Tensor x;
  Trans trans;

  int64_t rows() const { return x.dim(trans == Trans::yes ? -1 : -2); }
  int64_t cols() const { return x.dim(trans == Trans::yes ? -2 : -1); }
};

Shape batch_of(const Tensor& x) { return Shape(x.shape().begin(), x.shape().end() - 2); }

// --- layouts -------------------------------------------------------------------------------------

// How a kernel addresses a factor's matrices: the stride of their rows, or of their columns.
struct Layout {
  int64_t stride;
  Trans trans;
};

Layout layout_of(const Factor& f) {
  const int64_t row = f.x.strides()[f.x.rank() - 2], col = f.x.strides()[f.x.rank() - 1];
  return col == 1 ? Layout{row, f.trans} : Layout{col, !f.trans};
}

// Replaces x by a dense copy unless its matrices have unit stride along an axis.
void make_readable(Tensor& x) {
  const bool by_rows = x.strides()[x.rank() - 1] == 1, by_columns = x.strides()[x.rank() - 2] == 1;
  if (!by_rows && !by_columns) x = without_graph(x).contiguous();
}

// All matrices of x stacked along the rows, as a view of rank 2, or as a dense copy if the rows are
// not evenly spaced.
Tensor as_one_matrix(const Tensor& x) {
  if (x.rank() == 2 && x.is_contiguous()) return x;
  const int64_t cols = x.dim(-1);
  int64_t rows = 1, step = cols;
  bool even = x.strides()[x.rank() - 1] == 1;
  for (int64_t axis = x.rank() - 2; axis >= 0; --axis) {
    const int64_t size = x.shape()[axis], stride = x.strides()[axis];
    if (size == 1) continue;
    if (rows == 1) step = stride;
    even = even && stride == rows * step;
    rows *= size;
  }
  if (even) return alias(x, {rows, cols}, {step, 1});
  return alias(without_graph(x).contiguous(), {rows, cols}, {cols, 1});
}

// The offset of x's matrix for each index of `batch` (row-major). x's batch axes are aligned at the
// right; missing axes and those of size 1 are broadcast.
std::vector<int64_t> batch_offsets(const Tensor& x, const Shape& batch) {
  const int64_t missing = batch.rank() - (x.rank() - 2);
  std::vector<int64_t> offsets = {0};
  offsets.reserve(static_cast<std::size_t>(batch.numel()));
  for (int64_t axis = 0; axis < batch.rank(); ++axis) {
    const bool stretched = axis < missing || x.shape()[axis - missing] == 1;
    const int64_t stride = stretched ? 0 : x.strides()[axis - missing];
    std::vector<int64_t> finer;
    finer.reserve(static_cast<std::size_t>(batch.numel()));
    for (const int64_t offset : offsets)
      for (int64_t i = 0; i < batch[axis]; ++i) finer.push_back(offset + i * stride);
    offsets = std::move(finer);
  }
  return offsets;
}

// --- the product ---------------------------------------------------------------------------------

template <class T>
void multiply_matrices(const Factor& a, const Factor& b, T* y, const T* bias = nullptr) {
  const Layout la = layout_of(a), lb = layout_of(b);
  kernels::gemm<T>(la.trans, lb.trans, a.rows(), b.cols(), a.cols(), 1, a.x.data<T>(), la.stride,
                   b.x.data<T>(), lb.stride, 0, y, b.cols(), bias);
}

// y[i] = a[i] b[i] over the broadcast batch; if y has fewer matrices, they accumulate.
template <class T>
void multiply_batch(const Factor& a, const Factor& b, const Shape& batch, Tensor& y) {
  const Layout la = layout_of(a), lb = layout_of(b);
  const auto addresses = [&](auto* first, const Tensor& x) {
    std::vector<decltype(first)> list;
    list.reserve(static_cast<std::size_t>(batch.numel()));
    for (const int64_t offset : batch_offsets(x, batch)) list.push_back(first + offset);
    return list;
  };
  const auto as = addresses(a.x.data<T>(), a.x), bs = addresses(b.x.data<T>(), b.x);
  const auto ys = addresses(y.mutable_data<T>(), y);
  const int64_t M = a.rows(), N = b.cols(), K = a.cols();
  if (batch_of(y).numel() == batch.numel()) {
    kernels::batched_gemm<T>(batch.numel(), la.trans, lb.trans, M, N, K, 1, as.data(), la.stride,
                             bs.data(), lb.stride, 0, ys.data(), N);
    return;
  }
  y.fill(0);
  for (std::size_t i = 0; i < as.size(); ++i)
    kernels::gemm<T>(la.trans, lb.trans, M, N, K, 1, as[i], la.stride, bs[i], lb.stride, 1, ys[i],
                     N);
}

// One large product in place of a batch, if the sizes allow it: a shared B multiplies all rows of
// all A; a sum of products A^T B runs over the rows of all A and B.
bool fold(Factor& a, Factor& b, const Shape& batch) {
  const Shape batch_a = batch_of(a.x), batch_b = batch_of(b.x);
  if (batch_a.numel() == 1 && batch_b.numel() == 1) return true;
  if (batch_b.numel() == 1 && batch.numel() == batch_a.numel() && a.trans == Trans::no) {
    a.x = as_one_matrix(a.x);
    return true;
  }
  if (batch.numel() == 1 && batch_a == batch_b && a.trans == Trans::yes && b.trans == Trans::no) {
    a.x = as_one_matrix(a.x);
    b.x = as_one_matrix(b.x);
    return true;
  }
  return false;
}

// The values of product() below.
Tensor multiply(Factor a, Factor b, const Shape& batch) {
  Shape shape = batch;
  shape.push_back(a.rows());
  shape.push_back(b.cols());
  Tensor y = empty(shape, a.x.dtype());
  if (y.numel() == 0) return y;  // an empty batch may have any length
  const bool folded = fold(a, b, batch);
  make_readable(a.x);
  make_readable(b.x);
  dispatch_float(y.dtype(), "matmul", [&]<class T>() {
    if (folded) {
      multiply_matrices(a, b, y.mutable_data<T>());
    } else {
      multiply_batch<T>(a, b, broadcast_shapes("matmul", batch_of(a.x), batch_of(b.x)), y);
    }
  });
  return y;
}

// C = op(A) op(B) with broadcast batch axes, summed to the requested batch axes. The gradients have
// the same form, so this function is its own derivative of any order:
//   C = A B     dA = dC B^T     dB = A^T dC
//   C = A^T B   dA = B dC^T     dB = A dC
//   C = A B^T   dA = dC B       dB = dC^T A
//   C = A^T B^T dA = B^T dC^T   dB = dC^T A^T
// saves A for dB and B for dA
Tensor product(const Tensor& a, Trans ta, const Tensor& b, Trans tb, const Shape& batch) {
  return record<"matmul">(multiply({a, ta}, {b, tb}, batch), {a, b},
                          [a = keep_if(b.requires_grad(), a), b = keep_if(a.requires_grad(), b), ta,
                           tb, batch_a = batch_of(a),
                           batch_b = batch_of(b)](const Tensor& dc, NeedsGrad needs_grad) -> Grads {
                            Grads grads(2);
                            if (needs_grad[0])
                              grads[0] = ta == Trans::no ? product(dc, Trans::no, b, !tb, batch_a)
                                                         : product(b, tb, dc, Trans::yes, batch_a);
                            if (needs_grad[1])
                              grads[1] = tb == Trans::no ? product(a, !ta, dc, Trans::no, batch_b)
                                                         : product(dc, Trans::yes, a, ta, batch_b);
                            return grads;
                          });
}

void check_factors(const Tensor& a, const Tensor& b) {
  check_defined("matmul", "a", a, "b", b);
  if (a.dtype() != b.dtype())
    dtype_error("matmul", "a is {} and b is {}: dtypes must be equal", name_of(a.dtype()),
                name_of(b.dtype()));
  if (!is_floating(a.dtype()))
    dtype_error("matmul", "needs f32 or f64, and got {}", name_of(a.dtype()));
  if (a.rank() == 0 || b.rank() == 0)
    shape_error("matmul", "a {} and b {}: a scalar has no rows, multiply it with *",
                a.shape().str(), b.shape().str());
  const int64_t inner_b = b.dim(b.rank() == 1 ? -1 : -2);
  if (a.dim(-1) != inner_b)
    shape_error("matmul", "a {} and b {}: a has {} columns and b {} rows, which must be equal",
                a.shape().str(), b.shape().str(), a.dim(-1), inner_b);
}

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_defined("linear", "x", x, "weight", weight);
  if (weight.rank() != 2 || x.rank() == 0 || x.dim(-1) != weight.dim(1))
    shape_error("linear", "x {} and weight {}: x must be (..., in) and weight (out, in)",
                x.shape().str(), weight.shape().str());
  if (bias.defined() && (bias.rank() != 1 || bias.dim(0) != weight.dim(0)))
    shape_error("linear", "weight {} and bias {}: weight must be (out, in) and bias (out)",
                weight.shape().str(), bias.shape().str());
  if (x.dtype() != weight.dtype() || (bias.defined() && bias.dtype() != x.dtype()))
    dtype_error("linear", "x is {}, weight {} and bias {}: dtypes must be equal",
                name_of(x.dtype()), name_of(weight.dtype()),
                bias.defined() ? name_of(bias.dtype()) : "absent");
  if (!is_floating(x.dtype()))
    dtype_error("linear", "needs f32 or f64, and got {}", name_of(x.dtype()));
}

Tensor linear_values(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Shape shape = x.shape();
  shape[shape.rank() - 1] = weight.dim(0);
  Tensor y = empty(shape, x.dtype());
  const Factor rows{as_one_matrix(x), Trans::no};
  Factor columns{weight, Trans::yes};
  make_readable(columns.x);
  const Tensor dense_bias =
      !bias.defined() || bias.is_contiguous() ? bias : without_graph(bias).contiguous();
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    multiply_matrices(rows, columns, y.mutable_data<T>(),
                      bias.defined() ? dense_bias.data<T>() : nullptr);
  });
  return y;
}

// Vectors become matrices; the added axis is removed from the result.
Tensor vector_matmul(const Tensor& a, const Tensor& b) {
  const bool row = a.rank() == 1, column = b.rank() == 1;
  const Tensor y =
      matmul(row ? reshape(a, {1, a.dim(0)}) : a, column ? reshape(b, {b.dim(0), 1}) : b);
  Shape shape = y.shape();
  if (column) shape.erase(shape.rank() - 1);
  if (row) shape.erase(shape.rank() - (column ? 1 : 2));
  return reshape(y, shape);
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_factors(a, b);
  if (a.rank() == 1 || b.rank() == 1) return vector_matmul(a, b);
  return product(a, Trans::no, b, Trans::no, broadcast_shapes("matmul", batch_of(a), batch_of(b)));
}

// y = x W^T + b     dx = dy W     dW = dy^T x     db = sum of dy over all axes but the last
// saves W for dx and x for dW
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_linear(x, weight, bias);
  const int64_t in = weight.dim(1), out = weight.dim(0);
  if (x.rank() == 1) return reshape(linear(reshape(x, {1, in}), weight, bias), {out});
  auto backward = [x = keep_if(weight.requires_grad(), x),
                   weight = keep_if(x.requires_grad(), weight), batch = batch_of(x), out,
                   inputs = bias.defined() ? 3u : 2u](const Tensor& dy, NeedsGrad needs_grad) {
    Grads grads(inputs);
    if (needs_grad[0]) grads[0] = product(dy, Trans::no, weight, Trans::no, batch);
    if (needs_grad[1]) grads[1] = product(dy, Trans::yes, x, Trans::no, {});
    if (inputs == 3 && needs_grad[2]) grads[2] = sum_to(dy, {out});
    return grads;
  };
  Tensor y = linear_values(x, weight, bias);
  if (!bias.defined()) return record<"linear">(std::move(y), {x, weight}, std::move(backward));
  return record<"linear">(std::move(y), {x, weight, bias}, std::move(backward));
}

}  // namespace fovea
