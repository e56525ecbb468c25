// Shape and Strides: up to eight sizes, stored inline, because a tensor is made for every op.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace fovea {

inline constexpr int kMaxRank = 8;

/// A short list of int64: the sizes of a tensor, or its strides (in elements).
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values);  ///< ShapeError above kMaxRank values
  template <class It>
  Dims(It first, It last) {
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

  void push_back(std::int64_t value);  ///< ShapeError above kMaxRank values
  void insert(std::int64_t at, std::int64_t value);
  void erase(std::int64_t at);

  std::int64_t numel() const {  ///< product of all values; 1 for rank 0
    std::int64_t n = 1;
    for (const std::int64_t v : *this) n *= v;
    return n;
  }

  bool operator==(const Dims& other) const {
    return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
  }

  std::string str() const;  ///< "(2, 3)", "(5,)", "()"

 private:
  // Only the values in use are copied: most tensors have two or three axes.
  void copy_from(const Dims& other) {
    for (std::int64_t i = 0; i < rank_; ++i) values_[i] = other.values_[i];
  }

  std::int64_t rank_ = 0;
  std::int64_t values_[kMaxRank];
};

using Shape = Dims;
using Strides = Dims;

/// Row-major strides of a dense tensor: the last axis has stride 1.
Strides contiguous_strides(const Shape& shape);

/// Maps -rank..rank-1 onto 0..rank-1; anything else is an IndexError that names `op`.
std::int64_t normalize_axis(std::string_view op, std::int64_t axis, std::int64_t rank);

/// The common shape of `a` and `b` by NumPy's rule (aligned at the right; a size of 1 stretches).
/// ShapeError names `op` and both shapes.
Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b);

}  // namespace fovea
