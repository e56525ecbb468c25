// Shape and Strides: up to eight sizes, stored inline, because every op creates a tensor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace fovea {

inline constexpr int kMaxRank = 8;

/// The most elements of a tensor or view: the number of 48-bit addresses.
inline constexpr std::int64_t kMaxNumel = std::int64_t{1} << 48;

/// A short list of int64: the sizes of a tensor, or its strides (in elements).
class Dims {
 public:
  Dims() { std::fill_n(values_, kUsual, 0); }
  struct Constant {};
  constexpr explicit Dims(Constant) : values_{} {}  ///< rank 0, constant-initialized
  Dims(std::initializer_list<std::int64_t> values) : Dims(values.begin(), values.end()) {}
  template <class It>
  Dims(It first, It last) : Dims() {
    for (; first != last; ++first) push_back(static_cast<std::int64_t>(*first));
  }
  Dims(const Dims& other) : rank_(other.rank_) { copy_from(other); }
  Dims& operator=(const Dims& other) {
    rank_ = other.rank_;
    copy_from(other);
    return *this;
  }

  std::int64_t rank() const { return rank_; }
  std::int64_t& operator[](std::int64_t i) { return values_[i]; }
  std::int64_t operator[](std::int64_t i) const { return values_[i]; }
  std::int64_t* begin() { return values_; }
  std::int64_t* end() { return values_ + rank_; }
  const std::int64_t* begin() const { return values_; }
  const std::int64_t* end() const { return values_ + rank_; }
  const std::int64_t* data() const { return values_; }
  std::int64_t back() const { return values_[rank_ - 1]; }

  void push_back(std::int64_t value) {  ///< ShapeError above kMaxRank values
    if (rank_ == kMaxRank) too_many();
    values_[rank_++] = value;
  }
  void insert(std::int64_t at, std::int64_t value);
  void erase(std::int64_t at);

  /// The product of all sizes; 1 for rank 0. ShapeError with the name `op` if a size is negative or
  /// the product of the nonzero sizes exceeds kMaxNumel: no product of some sizes and no dense
  /// stride can then overflow, even for empty shapes.
  std::int64_t numel(std::string_view op = "Shape") const {
    std::uint64_t n = 1;
    bool overflow = false, empty = false;
    for (const std::int64_t v : *this) {
      empty |= v == 0;  // a negative size becomes a huge unsigned value
      overflow |= __builtin_mul_overflow(n, static_cast<std::uint64_t>(v + (v == 0)), &n);
    }
    if (overflow || n > static_cast<std::uint64_t>(kMaxNumel)) refuse(op);
    return empty ? 0 : static_cast<std::int64_t>(n);
  }

  bool operator==(const Dims& other) const {
    if (rank_ != other.rank_) return false;
    for (std::int64_t i = 0; i < rank_; ++i)
      if (values_[i] != other.values_[i]) return false;
    return true;
  }

  std::string str() const;  ///< "(2, 3)", "(5,)", "()"

 private:
  // The first kUsual sizes are copied even if unused: cheaper than a branch on the rank, and most
  // tensors have no more axes.
  void copy_from(const Dims& other) {
    for (int i = 0; i < kUsual; ++i) values_[i] = other.values_[i];
    for (std::int64_t i = kUsual; i < rank_; ++i) values_[i] = other.values_[i];
  }

  [[noreturn]] static void too_many();
  [[noreturn]] void refuse(std::string_view op) const;  // numel()'s errors

  static constexpr int kUsual = 4;
  std::int64_t rank_ = 0;
  std::int64_t values_[kMaxRank];
};

using Shape = Dims;
using Strides = Dims;

/// Row-major strides of a dense tensor: the last axis has stride 1. ShapeError as by numel().
Strides contiguous_strides(const Shape& shape);
namespace detail {
/// The same for a shape whose numel() has already been checked.
inline Strides dense_strides(const Shape& shape) {
  Strides strides = shape;
  std::int64_t step = 1;
  for (std::int64_t i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}
}  // namespace detail

/// Maps -rank..rank-1 onto 0..rank-1; IndexError with the name `op` for other values.
[[noreturn]] void axis_error(std::string_view op, std::int64_t axis, std::int64_t rank);
inline std::int64_t normalize_axis(std::string_view op, std::int64_t axis, std::int64_t rank) {
  if (axis < -rank || axis >= rank) axis_error(op, axis, rank);
  return axis < 0 ? axis + rank : axis;
}

/// The broadcast shape of `a` and `b` by NumPy's rule (aligned at the right; sizes of 1 expand).
/// ShapeError with the name `op` and both shapes.
Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b);

}  // namespace fovea
