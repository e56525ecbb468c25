// Tensor: a handle to a shared, strided array, with the graph that computed it.
//
// Copying a Tensor shares the values, clone() copies them. Row-major, batch first. Views (reshape,
// transpose, slice, expand) share storage. All writes go through mutable_data().
#pragma once

#include <fovea/core/dtype.h>
#include <fovea/core/shape.h>
#include <fovea/core/storage.h>

#include <concepts>
#include <functional>
#include <iosfwd>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fovea {

class Rng;
class Tensor;
struct Node;

namespace detail {
/// `value`, clamped to the range of T.
template <std::integral T>
constexpr T nearest(std::int64_t value) {
  using Limits = std::numeric_limits<T>;
  if (std::cmp_less(value, Limits::min())) return Limits::min();
  if (std::cmp_greater(value, Limits::max())) return Limits::max();
  return static_cast<T>(value);
}

template <class T>
concept Element = std::same_as<T, float> || std::same_as<T, double> ||
    std::same_as<T, std::int64_t> || std::same_as<T, bool>;
/// int and the other integer types whose values fit into int64_t.
template <class T>
concept SmallInteger = std::integral<T> && !Element<T> &&
                       (sizeof(T) < sizeof(std::int64_t) || std::signed_integral<T>);
}  // namespace detail

/// The object that a Tensor refers to. Made by empty() and by views; ops fill it but never change
/// its shape.
struct TensorImpl : Pooled {
  RefCount refs;
  DType dtype = DType::f32;
  bool contiguous = true;
  std::uint32_t output_nr = 0;  ///< index among the outputs of `node`
  std::int64_t numel = 0;
  std::byte* data = nullptr;  ///< the first element, inside `storage`
  Ref<Storage> storage;
  Ref<Node> node;  ///< grad_fn, or the gradient accumulator of a leaf; null: no gradient
  Shape shape;
  Strides strides;

  // Defined in tensor.cpp: Node is incomplete here.
  constexpr TensorImpl() noexcept;  ///< for undefined tensors
  /// Contiguous; `numel` is that of `shape`.
  TensorImpl(const Shape& shape, std::int64_t numel, DType dtype, Ref<Storage> storage,
             std::byte* data);
  explicit TensorImpl(const TensorImpl& other);  ///< the same view, without its graph
  TensorImpl(const Shape& shape, const Strides& strides, DType dtype, Ref<Storage> storage,
             std::byte* data);
  void destroy() noexcept;

  void retain() { refs.add(); }
  void release() noexcept {
    if (refs.drop()) destroy();
  }
};

namespace detail {
/// The shared target of all undefined tensors: no null test is needed, because every check rejects
/// its dtype. It is neither counted nor destroyed.
union UndefinedImpl {
  constexpr UndefinedImpl() noexcept;
  ~UndefinedImpl() {}
  TensorImpl impl;
};
extern UndefinedImpl undefined_impl;
}  // namespace detail

/// Options of backward() and grad().
struct BackwardOptions {
  bool retain_graph = false;  ///< keep the saved tensors for another backward()
  /// Record the backward pass itself, for second derivatives; implies retain_graph. Prefer grad():
  /// after backward() the gradients of the leaves own the graph, which owns the leaves, until
  /// zero_grad().
  bool create_graph = false;
};

class Tensor {
 public:
  /// Undefined: without values. StateError for all uses but defined(), copying and assignment.
  Tensor() noexcept : impl_(&detail::undefined_impl.impl) {}
  explicit Tensor(Ref<TensorImpl> impl) : impl_(impl.detach()) {}  ///< not null

  Tensor(const Tensor& other) noexcept : impl_(other.impl_) {
    if (defined()) impl_->retain();
  }
  Tensor(Tensor&& other) noexcept
      : impl_(std::exchange(other.impl_, &detail::undefined_impl.impl)) {}
  // The & qualifiers: `softmax(x) = y` does not compile, because its left side is a temporary.
  Tensor& operator=(const Tensor& other) & {
    Tensor copy(other);
    std::swap(impl_, copy.impl_);
    return *this;
  }
  Tensor& operator=(Tensor&& other) & noexcept {
    Tensor moved(std::move(other));
    std::swap(impl_, moved.impl_);
    return *this;
  }
  ~Tensor() {
    if (defined()) impl_->release();
  }

  bool defined() const { return impl_ != &detail::undefined_impl.impl; }
  const Shape& shape() const { return checked("shape").shape; }
  const Strides& strides() const { return checked("strides").strides; }
  std::int64_t rank() const { return checked("rank").shape.rank(); }
  std::int64_t numel() const { return impl_->numel; }
  std::int64_t dim(std::int64_t axis) const {  ///< size of an axis; negative: from the end
    const Shape& sizes = checked("dim").shape;
    return sizes[normalize_axis("dim", axis, sizes.rank())];
  }
  DType dtype() const { return impl_->dtype; }
  bool is_contiguous() const { return impl_->contiguous; }

  /// Pointer to the first element, for reading. T must be the tensor's type, else DTypeError.
  template <class T>
  const T* data() const {
    check_type(dtype_of<T>());
    return reinterpret_cast<const T*>(impl_->data);
  }
  /// Pointer to the first element, for writing. Bumps the version: graphs that saved this tensor
  /// detect the change.
  template <class T>
  T* mutable_data() {
    check_type(dtype_of<T>());
    impl_->storage->bump_version();
    return reinterpret_cast<T*>(impl_->data);
  }
  std::byte* raw_data() const { return impl_->data; }  ///< for copy kernels; version unchanged

  /// The value of a tensor of one element, converted to T as by to(); else ShapeError.
  template <class T = float>
  T item() const {
    check_single();
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
      return detail::nearest<T>(single_as_i64());
    else
      return dispatch_all(dtype(), [&]<class Held>() { return static_cast<T>(*data<Held>()); });
  }
  /// All elements in row-major order, converted to T as by to().
  template <detail::Element T>
  std::vector<T> to_vector() const;

  // These are recorded and differentiable.
  Tensor contiguous() const;  ///< the tensor itself if it is contiguous, else a contiguous copy
  Tensor clone() const;       ///< a contiguous copy
  /// Floats to i64: rounded towards 0; values outside int64's range and infinities give the nearest
  /// int64, NaN gives 0. To bool: x != 0, so NaN is true.
  Tensor to(DType dtype) const;

  /// The same values without the graph.
  Tensor detach() const;

  /// Overwrites the values with those of `source` (same shape and dtype; else an error, and nothing
  /// is written). Not recorded; bumps the version.
  void copy_from(const Tensor& source);
  void fill(double value);

  // --- gradients ---------------------------------------------------------------------------------
  bool requires_grad() const { return static_cast<bool>(impl_->node); }
  bool is_leaf() const;  ///< not the result of a recorded op
  /// Sets whether this leaf accumulates a gradient. StateError if it is not a leaf, DTypeError
  /// unless f32 or f64.
  Tensor& set_requires_grad(bool on = true);
  Tensor grad() const;  ///< the gradient accumulated so far; undefined if there is none
  void set_grad(const Tensor& grad);
  void zero_grad();    ///< makes the gradient undefined
  void retain_grad();  ///< stores the gradient of a non-leaf tensor, for grad()

  /// Calls `hook` with this tensor's complete gradient; a defined result replaces the gradient.
  void register_hook(std::function<Tensor(const Tensor&)> hook);

  /// Computes the gradients of all leaves that this tensor depends on and adds them to their
  /// grad(). seed: the gradient of this tensor (PyTorch's `gradient`), of its shape; optional for a
  /// tensor of one element (then 1).
  /// StateError: this tensor does not require a gradient, no seed for more than one element, the
  /// graph was freed, a saved tensor was overwritten.
  void backward(const Tensor& seed = {}, BackwardOptions options = {}) const;

  TensorImpl* impl() const { return impl_; }

 private:
  [[noreturn, gnu::cold]] static void undefined(const char* member);
  TensorImpl& checked(const char* member) const {
    if (impl_->dtype == DType::undefined) [[unlikely]]
      undefined(member);
    return *impl_;
  }
  void check_type(DType asked) const {
    if (impl_->dtype != asked) wrong_type(asked);
  }
  [[noreturn]] void wrong_type(DType asked) const;
  void check_single() const;
  std::int64_t single_as_i64() const;

  TensorImpl* impl_;  // never null
};

// --- for ops: the first check of a tensor argument -----------------------------------------------

namespace detail {
[[noreturn, gnu::cold]] void undefined_argument(std::string_view op, std::string_view name);
}

/// StateError "op: name is undefined" for the first undefined one of the named tensors:
/// check_defined("add", "a", a, "b", b).
template <class Op, class... Rest>  // Op: any string type, converted only for the message
void check_defined(const Op& op, const char* name, const Tensor& x, const Rest&... rest) {
  if (!x.defined()) [[unlikely]]
    detail::undefined_argument(op, name);
  if constexpr (sizeof...(rest) > 0) check_defined(op, rest...);
}
/// The same for a list: StateError "op: name 2 is undefined".
void check_all_defined(std::string_view op, std::string_view name, std::span<const Tensor> all);

// --- factories: leaves; shape first, then dtype --------------------------------------------------
// ShapeError for a negative size, for more than 2^48 bytes, and for more bytes than
// system_memory().
Tensor empty(const Shape& shape, DType dtype = DType::f32);  ///< values not initialized
Tensor zeros(const Shape& shape, DType dtype = DType::f32);
Tensor ones(const Shape& shape, DType dtype = DType::f32);
Tensor full(const Shape& shape, double value, DType dtype = DType::f32);
Tensor eye(std::int64_t n, DType dtype = DType::f32);
Tensor rand(const Shape& shape, Rng& rng, DType dtype = DType::f32);   ///< uniform in [0, 1)
Tensor randn(const Shape& shape, Rng& rng, DType dtype = DType::f32);  ///< mean 0, variance 1

/// 0, 1, ..., end - 1 as i64; empty for end < 1. A floating-point end does not compile, because it
/// would be truncated.
Tensor arange(std::int64_t end);
template <std::floating_point T>
Tensor arange(T end) = delete;
/// start, start + step, ... below `end` (above it for a negative step), as f32 by default, even for
/// integer arguments. ValueError: step 0, an argument that is not finite, and for i64 a value
/// outside its range.
Tensor arange(double start, double end, double step = 1.0, DType dtype = DType::f32);

/// A tensor of `shape` with a copy of `values` in row-major order; ShapeError if their number does
/// not match. The dtype is that of the values; int and smaller integers become i64, never bool or
/// f32.
template <detail::Element T>
Tensor from_data(std::span<const T> values, const Shape& shape);
template <detail::Element T>
Tensor from_data(const std::vector<T>& values, const Shape& shape) {
  return from_data(std::span<const T>(values), shape);
}
template <std::same_as<bool> T>
Tensor from_data(const std::vector<T>& values, const Shape& shape) {
  return from_data(std::vector<std::int64_t>(values.begin(), values.end()), shape)
      .to(DType::boolean);
}
template <detail::SmallInteger T>
Tensor from_data(const std::vector<T>& values, const Shape& shape) {
  return from_data(std::vector<std::int64_t>(values.begin(), values.end()), shape);
}
template <class T>
requires(!detail::Element<T> && !detail::SmallInteger<T>) Tensor
    from_data(const std::vector<T>& values, const Shape& shape)
= delete;
template <class T>
Tensor from_data(std::initializer_list<T> values, const Shape& shape) {
  return from_data(std::vector<T>(values), shape);
}

/// tensor({1, 2, 3}) and tensor({{1, 2}, {3, 4}}): f32 vectors and matrices from literals.
Tensor tensor(std::initializer_list<float> values);
Tensor tensor(std::initializer_list<std::initializer_list<float>> rows);
Tensor scalar(double value, DType dtype = DType::f32);  ///< rank 0

/// A view of `base`'s storage with the given shape and strides that starts `offset` elements after
/// the first element of `base`. Not recorded. For the view ops in core/ops/layout.cpp. ShapeError
/// if an element of the view would be outside the storage.
Tensor alias(const Tensor& base, const Shape& shape, const Strides& strides,
             std::int64_t offset = 0);

/// The values of x without the graph, for use inside an op: unlike detach(), not a cut that the
/// gradient audit reports.
Tensor without_graph(const Tensor& x);

std::ostream& operator<<(std::ostream& out, const Tensor& x);  ///< as core/print.h formats it

}  // namespace fovea
