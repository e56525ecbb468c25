#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/kernels/copy.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

#include <cmath>
#include <cstring>
#include <new>

namespace fovea {

constexpr TensorImpl::TensorImpl() noexcept
    : dtype(DType::undefined),
      contiguous(false),
      shape(Shape::Constant()),
      strides(Strides::Constant()) {}

namespace detail {
constexpr UndefinedImpl::UndefinedImpl() noexcept : impl() {}
constinit UndefinedImpl undefined_impl;
}  // namespace detail

TensorImpl::TensorImpl(const Shape& sizes, const Strides& steps, DType type, Ref<Storage> numbers,
                       std::byte* first)
    : dtype(type),
      numel(sizes.numel("alias")),
      data(first),
      storage(std::move(numbers)),
      shape(sizes),
      strides(steps) {}

TensorImpl::TensorImpl(const Shape& sizes, std::int64_t count, DType type, Ref<Storage> numbers,
                       std::byte* first)
    : dtype(type),
      numel(count),
      data(first),
      storage(std::move(numbers)),
      shape(sizes),
      strides(detail::dense_strides(sizes)) {}

TensorImpl::TensorImpl(const TensorImpl& other)
    : dtype(other.dtype),
      contiguous(other.contiguous),
      numel(other.numel),
      data(other.data),
      storage(other.storage),
      shape(other.shape),
      strides(other.strides) {}

void TensorImpl::destroy() noexcept { delete this; }

namespace {

// A dry run skips computations on floats. Integers and bools are copied, converted and set for
// real, because ids, lengths and masks determine the work.
class ComputeIntegers {
 public:
  explicit ComputeIntegers(DType dtype) : before_(kernels::dry_run) {
    if (!is_floating(dtype)) kernels::dry_run = false;
  }
  ~ComputeIntegers() { kernels::dry_run = before_; }
  ComputeIntegers(const ComputeIntegers&) = delete;
  ComputeIntegers& operator=(const ComputeIntegers&) = delete;

 private:
  bool before_;
};

Tensor dense_copy(const Tensor& x) {
  Tensor y = empty(x.shape(), x.dtype());
  const ComputeIntegers loops(x.dtype());
  if (DryRun::on()) return y;
  if (x.is_contiguous()) {
    std::memcpy(y.raw_data(), x.raw_data(),
                static_cast<std::size_t>(x.numel() * size_of(x.dtype())));
  } else {
    kernels::copy_strided(static_cast<int>(size_of(x.dtype())), x.shape().data(),
                          static_cast<int>(x.rank()), x.raw_data(), x.strides().data(),
                          y.raw_data(), y.strides().data());
  }
  return y;
}

Tensor converted(const Tensor& x, DType dtype) {
  const Tensor dense = x.is_contiguous() ? x : dense_copy(x);
  Tensor y = empty(x.shape(), dtype);
  const ComputeIntegers loops(is_floating(x.dtype()) ? x.dtype() : dtype);
  dispatch_all(x.dtype(), [&]<class From>() {
    dispatch_all(dtype, [&]<class To>() {
      kernels::convert(dense.data<From>(), y.mutable_data<To>(), x.numel());
    });
  });
  return y;
}

// Out of line, so that empty() saves no registers for it.
[[noreturn, gnu::noinline, gnu::cold]] void refuse_allocation(const Shape& shape, DType dtype,
                                                              std::int64_t bytes) {
  if (dtype == DType::undefined) detail::wrong_dtype("empty", "a dtype", dtype);
  if (bytes > kMaxNumel)
    shape_error("empty", "shape {}: more than 2^48 bytes of {}", shape.str(), name_of(dtype));
  shape_error("empty", "shape {} of {}: {} bytes cannot be allocated", shape.str(), name_of(dtype),
              bytes);
}

// The storage of `numel` elements; ShapeError if there is not enough memory.
Ref<Storage> allocate(const Shape& shape, std::int64_t numel, DType dtype) {
  const std::int64_t bytes = numel * size_of(dtype);
  if (bytes > kMaxNumel || dtype == DType::undefined) refuse_allocation(shape, dtype, bytes);
  try {
    return Ref<Storage>::adopt(Storage::make(static_cast<std::size_t>(bytes)));
  } catch (const std::bad_alloc&) {
    refuse_allocation(shape, dtype, bytes);
  }
}

// Whether all elements of the view are inside the storage, and whether the view is contiguous:
// row-major without gaps, with any stride on axes of size 1.
struct ViewLayout {
  bool inside, dense;
};

ViewLayout layout_of(const TensorImpl& base, const Shape& shape, const Strides& strides,
                     std::int64_t offset) {
  std::int64_t first = offset, last = offset;  // smallest and largest offset from base's first
  std::int64_t expected = 1;
  bool dense = true, overflow = false;
  for (std::int64_t i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] == 1) continue;
    dense &= strides[i] == expected;
    expected *= shape[i];
    std::int64_t span;
    overflow |= __builtin_mul_overflow(shape[i] - 1, strides[i], &span);
    std::int64_t& end = span < 0 ? first : last;
    overflow |= __builtin_add_overflow(end, span, &end);
  }
  const std::int64_t size = size_of(base.dtype), before = base.data - base.storage->data();
  overflow |= __builtin_mul_overflow(first, size, &first);
  overflow |= __builtin_mul_overflow(last, size, &last);
  const std::int64_t left = static_cast<std::int64_t>(base.storage->bytes()) - before;
  return {!overflow && first >= -before && last <= left - size, dense};
}

[[noreturn, gnu::noinline, gnu::cold]] void refuse_view(const Tensor& base, const Shape& shape,
                                                        const Strides& strides,
                                                        std::int64_t offset) {
  shape_error("alias", "{} with strides {} from element {} of {} on: must be within the storage",
              shape.str(), strides.str(), offset, base.shape().str());
}

}  // namespace

void Tensor::undefined(const char* member) { state_error(member, "the tensor is undefined"); }

namespace detail {
void undefined_argument(std::string_view op, std::string_view name) {
  state_error(op, "{} is undefined", name);
}
}  // namespace detail

void check_all_defined(std::string_view op, std::string_view name, std::span<const Tensor> all) {
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i].defined()) state_error(op, "{} {} is undefined", name, i);
}

void Tensor::wrong_type(DType asked) const {
  checked("data");
  dtype_error("data", "T = {} for a tensor {} of dtype {}: must be equal: convert with to()",
              name_of(asked), shape().str(), name_of(dtype()));
}

void Tensor::check_single() const {
  if (checked("item").numel != 1)
    shape_error("item", "the tensor {} has {} elements: must have exactly one", shape().str(),
                numel());
}

std::int64_t Tensor::single_as_i64() const {
  return dispatch_all(dtype(),
                      [&]<class Held>() { return kernels::cast<std::int64_t>(*data<Held>()); });
}

template <detail::Element T>
std::vector<T> Tensor::to_vector() const {
  checked("to_vector");
  const ComputeIntegers loops(dtype());  // in a dry run, conversion of integers to floats is real
  const Tensor dense = without_graph(*this).to(dtype_of<T>()).contiguous();
  return std::vector<T>(dense.data<T>(), dense.data<T>() + numel());
}
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<std::int64_t> Tensor::to_vector() const;
template <>
std::vector<bool> Tensor::to_vector() const {
  checked("to_vector");
  const Tensor truth = without_graph(*this).to(DType::boolean);  // to i64 would make 0.5 false
  const std::vector<std::int64_t> numbers = truth.to_vector<std::int64_t>();
  return std::vector<bool>(numbers.begin(), numbers.end());
}

// dx = dy
Tensor Tensor::contiguous() const {
  if (checked("contiguous").contiguous) return *this;
  return record<"contiguous">(dense_copy(*this), {*this},
                              [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
}

Tensor Tensor::clone() const {
  checked("clone");
  return record<"clone">(dense_copy(*this), {*this},
                         [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
}

// dx = dy, rounded back to x's type
Tensor Tensor::to(DType needs_grad) const {
  if (checked("to").dtype == needs_grad) return *this;
  Tensor y = converted(*this, needs_grad);
  if (!is_floating(needs_grad)) return record_cut<"to_integer">(std::move(y), {*this});
  return record<"to">(std::move(y), {*this},
                      [from = dtype()](const Tensor& dy, NeedsGrad) { return Grads(dy.to(from)); });
}

Tensor Tensor::detach() const {
  checked("detach");
  return record_cut<"detach">(alias(*this, shape(), strides()), {*this});
}

void Tensor::copy_from(const Tensor& source) {
  check_defined("copy_from", "the tensor", *this, "source", source);
  if (!(shape() == source.shape()))
    shape_error("copy_from", "from {} to {}: shapes must be equal", source.shape().str(),
                shape().str());
  if (dtype() != source.dtype())
    dtype_error("copy_from", "from {} to {}: types must be equal", name_of(source.dtype()),
                name_of(dtype()));
  for (std::int64_t d = 0; d < rank(); ++d)
    if (strides()[d] == 0 && shape()[d] > 1 && numel() > 0)
      state_error("copy_from",
                  "to an expanded view {} with stride 0 on axis {}: write to a clone() instead",
                  shape().str(), d);
  // Views of the same storage may overlap: copy the source first.
  const bool same_storage = impl_->storage == source.impl()->storage;
  const Tensor from = same_storage ? dense_copy(source) : source;
  impl_->storage->bump_version();
  const ComputeIntegers loops(dtype());
  kernels::copy_strided(static_cast<int>(size_of(dtype())), shape().data(),
                        static_cast<int>(rank()), from.raw_data(), from.strides().data(),
                        raw_data(), strides().data());
}

void Tensor::fill(double value) {
  checked("fill");
  copy_from(full(shape(), value, dtype()));
}

// --- factories -------------------------------------------------------------------------------

Tensor empty(const Shape& shape, DType dtype) {
  const std::int64_t numel = shape.numel("empty");
  Ref<Storage> storage = allocate(shape, numel, dtype);
  std::byte* data = storage->data();
  return Tensor(
      Ref<TensorImpl>::adopt(new TensorImpl(shape, numel, dtype, std::move(storage), data)));
}

Tensor alias(const Tensor& base, const Shape& shape, const Strides& strides, std::int64_t offset) {
  check_defined("alias", "base", base);
  const TensorImpl& from = *base.impl();
  auto view = Ref<TensorImpl>::adopt(
      new TensorImpl(shape, strides, from.dtype, from.storage, from.data));  // checks the shape
  const ViewLayout layout = layout_of(from, shape, strides, offset);
  view->contiguous = layout.dense;
  if (view->numel > 0) {  // an empty view keeps base's data pointer
    if (!layout.inside) refuse_view(base, shape, strides, offset);
    view->data += offset * size_of(from.dtype);
  }
  return Tensor(std::move(view));
}

Tensor without_graph(const Tensor& x) {
  check_defined("without_graph", "x", x);
  return Tensor(Ref<TensorImpl>::adopt(new TensorImpl(*x.impl())));
}

Tensor full(const Shape& shape, double value, DType dtype) {
  if (dtype == DType::i64 && !(std::abs(value) < 0x1p63))
    value_error("full", "{} as i64: must be finite and below 2^63", value);
  if (dtype == DType::i64 && value != std::trunc(value))
    value_error("full", "{} as i64: must be a whole number", value);
  Tensor y = empty(shape, dtype);
  if (DryRun::on() && value == 0) return y;  // reads as zeros
  const ComputeIntegers loops(dtype);
  dispatch_all(dtype, [&]<class T>() {
    const T element = static_cast<T>(value);
    kernels::fill(sizeof(T), y.raw_data(), y.numel(), &element);
  });
  return y;
}

Tensor zeros(const Shape& shape, DType dtype) { return full(shape, 0.0, dtype); }
Tensor ones(const Shape& shape, DType dtype) { return full(shape, 1.0, dtype); }
Tensor scalar(double value, DType dtype) { return full({}, value, dtype); }

Tensor arange(std::int64_t end) { return arange(0.0, static_cast<double>(end), 1.0, DType::i64); }

Tensor arange(double start, double end, double step, DType dtype) {
  if (!(step != 0.0) || !std::isfinite((end - start) / step))
    value_error("arange", "from {} to {} by {}: the step must not be 0, and all must be finite",
                start, end, step);
  const double count = std::max(0.0, std::ceil((end - start) / step));
  if (count > static_cast<double>(kMaxNumel))
    value_error("arange", "from {} to {} by {}: must be at most 2^48 elements", start, end, step);
  if (dtype == DType::i64 && count > 0 && !(std::max(std::abs(start), std::abs(end)) < 0x1p63))
    value_error("arange", "from {} to {} as i64: must be below 2^63", start, end);
  Tensor y = empty({static_cast<std::int64_t>(count)}, dtype);
  if (DryRun::skips(dtype)) return y;
  dispatch_all(dtype, [&]<class T>() {
    T* values = y.mutable_data<T>();
    for (std::int64_t i = 0; i < y.numel(); ++i)
      values[i] = kernels::cast<T>(start + static_cast<double>(i) * step);
  });
  return y;
}

Tensor eye(std::int64_t n, DType dtype) {
  Tensor y = zeros({n, n}, dtype);
  if (DryRun::skips(dtype)) return y;
  dispatch_all(dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < n; ++i) y.mutable_data<T>()[i * n + i] = T(1);
  });
  return y;
}

Tensor rand(const Shape& shape, Rng& rng, DType dtype) {
  Tensor y = empty(shape, dtype);
  dispatch_float(dtype, "rand", [&]<class T>() {
    rng.fill_uniform(std::span(y.mutable_data<T>(), static_cast<std::size_t>(y.numel())));
  });
  return y;
}

Tensor randn(const Shape& shape, Rng& rng, DType dtype) {
  Tensor y = empty(shape, dtype);
  dispatch_float(dtype, "randn", [&]<class T>() {
    rng.fill_normal(std::span(y.mutable_data<T>(), static_cast<std::size_t>(y.numel())));
  });
  return y;
}

template <detail::Element T>
Tensor from_data(std::span<const T> values, const Shape& shape) {
  const std::int64_t n = shape.numel("from_data");
  if (static_cast<std::int64_t>(values.size()) != n)
    shape_error("from_data", "{} values for shape {}: must be {}", values.size(), shape.str(), n);
  Tensor y = empty(shape, dtype_of<T>());
  if (!values.empty()) std::memcpy(y.raw_data(), values.data(), values.size_bytes());
  return y;
}
template Tensor from_data(std::span<const float>, const Shape&);
template Tensor from_data(std::span<const double>, const Shape&);
template Tensor from_data(std::span<const std::int64_t>, const Shape&);
template Tensor from_data(std::span<const bool>, const Shape&);

Tensor tensor(std::initializer_list<float> values) {
  return from_data(std::span<const float>(values.begin(), values.size()),
                   {static_cast<std::int64_t>(values.size())});
}

Tensor tensor(std::initializer_list<std::initializer_list<float>> rows) {
  const std::size_t columns = rows.size() == 0 ? 0 : rows.begin()->size();
  std::vector<float> values;
  for (const auto& row : rows) {
    if (row.size() != columns)
      shape_error("tensor", "a row of {} values after rows of {}: rows must have equal lengths",
                  row.size(), columns);
    values.insert(values.end(), row);
  }
  return from_data(values,
                   {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(columns)});
}

}  // namespace fovea
