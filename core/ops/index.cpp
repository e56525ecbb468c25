#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/kernels/index.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>

#include <algorithm>

namespace fovea {
namespace {

// A dense copy for a kernel, not recorded.
Tensor dense(const Tensor& x) { return x.is_contiguous() ? x : without_graph(x).contiguous(); }
Tensor dense_copy(const Tensor& x) { return without_graph(x).clone(); }

// ---- Checks ------------------------------------------------------------------------------------

// `index` as a dense tensor, after checking its dtype and that every value is in [0, size).
Tensor checked_index(const char* op, const Tensor& index, int64_t size) {
  if (index.dtype() != DType::i64)
    dtype_error(op, "index is {}: must be i64", name_of(index.dtype()));
  Tensor positions = dense(index);
  const int64_t* const values = positions.data<int64_t>();
  int64_t at = kernels::first_outside(values, positions.numel(), size);
  if (at < 0) return positions;
  const int64_t value = values[at];
  Dims position = positions.shape();
  for (int64_t d = positions.rank() - 1; d >= 0; --d) {
    position[d] = at % positions.shape()[d];
    at /= positions.shape()[d];
  }
  index_error(op, "index {} at position {}: must be in [0, {})", value, position.str(), size);
}

void check_vector(const char* op, const Tensor& index) {
  if (index.rank() != 1) shape_error(op, "index {}: must have one axis", index.shape().str());
}

void check_same_dtype(const char* op, const Tensor& x, const Tensor& source) {
  if (x.dtype() != source.dtype())
    dtype_error(op, "x is {} and source is {}: dtypes must be equal", name_of(x.dtype()),
                name_of(source.dtype()));
}

// `shape`, the shape of `what`, must equal x's except on the axis.
void check_off_axis(const char* op, const char* what, const Tensor& x, int64_t axis,
                    const Shape& shape) {
  Shape expected = x.shape();
  if (shape.rank() == x.rank()) expected[axis] = shape[axis];
  if (!(shape == expected))
    shape_error(op, "x {} and {} {}: sizes must be equal except on axis {}", x.shape().str(), what,
                shape.str(), axis);
}

// ---- Sizes for the kernels ---------------------------------------------------------------------

kernels::IndexSizes sizes_around(const Shape& shape, int64_t axis, int64_t count) {
  kernels::IndexSizes sizes{1, shape[axis], count, 1};
  for (int64_t d = 0; d < shape.rank(); ++d)
    if (d != axis) (d < axis ? sizes.outer : sizes.inner) *= shape[d];
  return sizes;
}

Shape with_size(Shape shape, int64_t axis, int64_t size) {
  shape[axis] = size;
  return shape;
}

// The gradient of an embedding table, in one pass over the ids.
//   dy: (..., C)   ids: (...)   ->   (V, C)
Tensor embedding_gradient(const Tensor& dy, const Tensor& ids, const Shape& table,
                          int64_t padding_idx) {
  Tensor gradient = zeros(table, dy.dtype());
  const kernels::IndexSizes sizes{1, table[0], ids.numel(), table[1]};
  dispatch_float(dy.dtype(), "embedding", [&]<class T>() {
    kernels::add_rows(dy.data<T>(), ids.data<int64_t>(), sizes, padding_idx,
                      gradient.mutable_data<T>());
  });
  return gradient;
}

}  // namespace

// y = W[ids],   dW[v] = sum of dy over the positions where ids = v, v != padding_idx;   saves ids
Tensor embedding(const Tensor& weight, const Tensor& ids, int64_t padding_idx) {
  check_defined("embedding", "weight", weight, "ids", ids);
  if (weight.rank() != 2)
    shape_error("embedding", "weight {}: must be (V, C)", weight.shape().str());
  const int64_t V = weight.shape()[0], C = weight.shape()[1];
  if (padding_idx < -1 || padding_idx >= V)
    value_error("embedding", "padding_idx = {}: must be in [0, {}), or -1 for none", padding_idx,
                V);
  const Tensor rows = checked_index("embedding", ids, V);
  const Tensor table = dense(weight);
  Shape shape = ids.shape();
  shape.push_back(C);
  Tensor y = empty(shape, weight.dtype());  // (..., C)
  dispatch_float(weight.dtype(), "embedding", [&]<class T>() {
    kernels::select_rows(table.data<T>(), rows.data<int64_t>(), {1, V, rows.numel(), C},
                         y.mutable_data<T>());
  });
  return record<"embedding">(
      std::move(y), {weight},
      [rows = keep(rows), table = weight.shape(), padding_idx](const Tensor& dy, NeedsGrad) {
        const Tensor& index = rows;
        if (!grad_enabled()) return Grads(embedding_gradient(dy, index, table, padding_idx));
        const Tensor kept =
            where(unsqueeze(ne(index, static_cast<double>(padding_idx)), -1), dy, 0.0);
        return Grads(index_add(zeros(table, dy.dtype()), 0, reshape(index, {index.numel()}),
                               reshape(kept, {index.numel(), table[1]})));
      });
}

// y[m] = x[i[m]],   dx[v] = sum of dy[m] over the m with i[m] = v;   saves i
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index) {
  check_defined("index_select", "x", x, "index", index);
  const int64_t d = normalize_axis("index_select", axis, x.rank());
  check_vector("index_select", index);
  const Tensor positions = checked_index("index_select", index, x.shape()[d]);
  const Tensor from = dense(x);
  Tensor y = empty(with_size(x.shape(), d, positions.numel()), x.dtype());
  dispatch_all(x.dtype(), [&]<class T>() {
    kernels::select_rows(from.data<T>(), positions.data<int64_t>(),
                         sizes_around(x.shape(), d, positions.numel()), y.mutable_data<T>());
  });
  return record<"index_select">(
      std::move(y), {x},
      [positions = keep(positions), d, shape = x.shape()](const Tensor& dy, NeedsGrad) {
        return Grads(index_add(zeros(shape, dy.dtype()), d, positions, dy));
      });
}

// y = x, y[i[m]] += s[m],   dx = dy,  ds[m] = dy[i[m]];   saves i
Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  check_defined("index_add", "x", x, "index", index, "source", source);
  const int64_t d = normalize_axis("index_add", axis, x.rank());
  check_vector("index_add", index);
  check_same_dtype("index_add", x, source);
  check_off_axis("index_add", "source", x, d, source.shape());
  if (source.shape()[d] != index.numel())
    shape_error("index_add", "{} indices for size {} of source's axis {}: must be equal",
                index.numel(), source.shape()[d], d);
  const Tensor positions = checked_index("index_add", index, x.shape()[d]);
  const Tensor from = dense(source);
  Tensor y = dense_copy(x);
  dispatch_number(x.dtype(), "index_add", [&]<class T>() {
    kernels::add_rows(from.data<T>(), positions.data<int64_t>(),
                      sizes_around(x.shape(), d, positions.numel()), -1, y.mutable_data<T>());
  });
  return record<"index_add">(
      std::move(y), {x, source},
      [positions = keep(positions), d](const Tensor& dy, NeedsGrad needs_grad) {
        Grads grads(2);
        if (needs_grad[0]) grads[0] = dy;
        if (needs_grad[1]) grads[1] = index_select(dy, d, positions);
        return grads;
      });
}

// y[m] = x[i[m]],   dx[v] = sum of dy[m] over the m with i[m] = v, in every column;   saves i
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index) {
  check_defined("gather", "x", x, "index", index);
  const int64_t d = normalize_axis("gather", axis, x.rank());
  check_off_axis("gather", "index", x, d, index.shape());
  const Tensor positions = checked_index("gather", index, x.shape()[d]);
  const Tensor from = dense(x);
  Tensor y = empty(index.shape(), x.dtype());
  dispatch_all(x.dtype(), [&]<class T>() {
    kernels::gather(from.data<T>(), positions.data<int64_t>(),
                    sizes_around(x.shape(), d, index.shape()[d]), y.mutable_data<T>());
  });
  return record<"gather">(
      std::move(y), {x},
      [positions = keep(positions), d, shape = x.shape()](const Tensor& dy, NeedsGrad) {
        return Grads(scatter_add(zeros(shape, dy.dtype()), d, positions, dy));
      });
}

// y = x, y[i[m]] += s[m] in every column,   dx = dy,  ds[m] = dy[i[m]];   saves i
Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  check_defined("scatter_add", "x", x, "index", index, "source", source);
  const int64_t d = normalize_axis("scatter_add", axis, x.rank());
  check_same_dtype("scatter_add", x, source);
  check_off_axis("scatter_add", "index", x, d, index.shape());
  if (!(source.shape() == index.shape()))
    shape_error("scatter_add", "index {} and source {}: shapes must be equal", index.shape().str(),
                source.shape().str());
  const Tensor positions = checked_index("scatter_add", index, x.shape()[d]);
  const Tensor from = dense(source);
  Tensor y = dense_copy(x);
  dispatch_number(x.dtype(), "scatter_add", [&]<class T>() {
    kernels::scatter_add(from.data<T>(), positions.data<int64_t>(),
                         sizes_around(x.shape(), d, index.shape()[d]), y.mutable_data<T>());
  });
  return record<"scatter_add">(
      std::move(y), {x, source},
      [positions = keep(positions), d](const Tensor& dy, NeedsGrad needs_grad) {
        Grads grads(2);
        if (needs_grad[0]) grads[0] = dy;
        if (needs_grad[1]) grads[1] = gather(dy, d, positions);
        return grads;
      });
}

Tensor one_hot(const Tensor& ids, int64_t classes, DType dtype) {
  check_defined("one_hot", "ids", ids);
  const Tensor index = checked_index("one_hot", ids, classes);
  Shape shape = ids.shape();
  shape.push_back(classes);
  Tensor y = zeros(shape, dtype);  // (..., classes)
  const int64_t* const id = index.data<int64_t>();
  const int64_t n = DryRun::skips(dtype) ? 0 : index.numel();
  dispatch_all(dtype, [&]<class T>() {
    T* const row = y.mutable_data<T>();
    for (int64_t i = 0; i < n; ++i) row[i * classes + id[i]] = T(1);
  });
  return record_cut<"one_hot">(std::move(y), {ids});
}

// y = the elements of x where keep is true, selected by their indices.
Tensor masked_select(const Tensor& x, const Tensor& keep) {
  check_defined("masked_select", "x", x, "keep", keep);
  if (keep.dtype() != DType::boolean)
    dtype_error("masked_select", "keep is {}: must be bool", name_of(keep.dtype()));
  const Shape shape = broadcast_shapes("masked_select", x.shape(), keep.shape());
  const Tensor dense_keep = dense(expand(keep, shape));
  const bool* const kept = dense_keep.data<bool>();
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < dense_keep.numel(); ++i)
    if (kept[i]) positions.push_back(i);
  const int64_t n = static_cast<int64_t>(positions.size());
  return index_select(reshape(expand(x, shape), {shape.numel()}), 0, from_data(positions, {n}));
}

Tensor masked_select(const Tensor& x, const Mask& mask) {
  check_defined("masked_select", "x", x);
  if (x.rank() != 2 && x.rank() != 3)
    shape_error("masked_select", "x {}: must be (T, S) or (B, T, S)", x.shape().str());
  const Tensor kept = mask.to_tensor(x.rank() == 3 ? x.dim(0) : 1, x.dim(-2), x.dim(-1));
  return masked_select(x, x.rank() == 3 ? kept : squeeze(kept, 0));
}

// y = mask ? value : x,   dx = mask ? 0 : dy
Tensor masked_fill(const Tensor& x, const Tensor& mask, double value) {
  check_defined("masked_fill", "x", x, "mask", mask);
  if (!(broadcast_shapes("masked_fill", x.shape(), mask.shape()) == x.shape()))
    shape_error("masked_fill", "x {} and mask {}: the mask must broadcast to x", x.shape().str(),
                mask.shape().str());
  return where(mask, value, x);
}

}  // namespace fovea
