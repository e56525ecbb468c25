// Ragged: sequences of unequal length, packed without padding.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <vector>

namespace fovea {

/// Positions of the sequences in a packed batch: sequence b is rows [offset(b), offset(b + 1)).
/// Cheap to copy.
class RaggedIndex {
 public:
  /// ValueError for a negative length, and for a sum of lengths above 2^48.
  explicit RaggedIndex(const std::vector<std::int64_t>& lengths);
  /// B sequences of T rows each.
  static RaggedIndex equal(std::int64_t B, std::int64_t T);

  std::int64_t batch_size() const { return static_cast<std::int64_t>(offsets_->size()) - 1; }
  std::int64_t total() const { return offsets_->back(); }
  std::int64_t length(std::int64_t b) const { return offset(b + 1) - offset(b); }
  std::int64_t offset(std::int64_t b) const { return (*offsets_)[static_cast<std::size_t>(b)]; }
  std::int64_t max_length() const;
  const std::vector<std::int64_t>& offsets() const { return *offsets_; }
  std::vector<std::int64_t> lengths() const;
  bool operator==(const RaggedIndex& other) const { return *offsets_ == *other.offsets_; }

 private:
  std::shared_ptr<const std::vector<std::int64_t>> offsets_;
};

/// values: (sum of lengths, ...), the rows of sequence 0, then those of sequence 1, ...
struct Ragged {
  Tensor values;
  RaggedIndex index;
};

/// Removes the padding.    x: (B, T, ...)  ->  values (sum of lengths, ...).   ShapeError,
/// ValueError if the lengths do not match x.
Ragged pack(const Tensor& x, const RaggedIndex& index);

/// Pads the sequences with zeros at the end.    ->  (B, T, ...), T the longest length
Tensor pad(const Ragged& x);

}  // namespace fovea
