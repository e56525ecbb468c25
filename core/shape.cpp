#include <fovea/core/error.h>
#include <fovea/core/shape.h>

namespace fovea {

void Dims::too_many() { shape_error("Shape", "more than {} axes", kMaxRank); }

void Dims::refuse(std::string_view op) const {
  if (std::any_of(begin(), end(), [](std::int64_t v) { return v < 0; }))
    shape_error(op, "shape {}: sizes must not be negative", str());
  shape_error(op, "shape {}: the product of the nonzero sizes must be at most 2^48", str());
}

void Dims::insert(std::int64_t at, std::int64_t value) {
  push_back(value);
  for (std::int64_t i = rank_ - 1; i > at; --i) std::swap(values_[i], values_[i - 1]);
}

void Dims::erase(std::int64_t at) {
  for (std::int64_t i = at; i + 1 < rank_; ++i) values_[i] = values_[i + 1];
  --rank_;
}

std::string Dims::str() const {
  std::string text = "(";
  for (std::int64_t i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string(values_[i]);
  return text + (rank_ == 1 ? ",)" : ")");
}

Strides contiguous_strides(const Shape& shape) {
  static_cast<void>(shape.numel("contiguous_strides"));
  return detail::dense_strides(shape);
}

void axis_error(std::string_view op, std::int64_t axis, std::int64_t rank) {
  index_error(op, "axis {} of a tensor with {} axes: must be in [{}, {})", axis, rank, -rank, rank);
}

Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  Shape wide = a.rank() >= b.rank() ? a : b;
  const Shape& narrow = a.rank() >= b.rank() ? b : a;
  const std::int64_t lead = wide.rank() - narrow.rank();
  for (std::int64_t i = 0; i < narrow.rank(); ++i) {
    std::int64_t& size = wide[lead + i];
    if (size == narrow[i] || narrow[i] == 1) continue;
    if (size != 1)
      shape_error(op,
                  "shapes {} and {} do not broadcast: sizes, aligned at the right, must be "
                  "equal or 1",
                  a.str(), b.str());
    size = narrow[i];
  }
  return wide;
}

}  // namespace fovea
