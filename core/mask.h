// Mask: what may look at what. It always says what is KEPT; a bare bool tensor is not a Mask.
//
// Axes: B batch, T queries, S keys. A query that keeps no key has output 0, weights 0 and gradient
// 0, on every path.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace fovea {

/// A condition on (batch, query, key), or several joined by &.
class Mask {
 public:
  /// Which ends of the query and key axes meet when T and S differ.
  enum class Corner { unset, top_left, bottom_right };

  static Mask none();  ///< keeps everything
  /// Keeps key s for query t if s <= t; with T != S the corner must be said, else ShapeError.
  /// bottom_right: s <= t + (S - T), as when the last T queries meet a cache of S keys.
  static Mask causal(Corner corner = Corner::unset);
  /// Keeps the first lengths[b] keys of batch row b. ValueError if a length is negative.
  static Mask lengths(std::vector<std::int64_t> lengths);
  /// Keeps the keys within `left` before and `right` after the query; negative: no limit there.
  /// With T != S the corner must be said, as for causal().
  static Mask window(std::int64_t left, std::int64_t right, Corner corner = Corner::unset);
  /// Keeps where true.   kept: bool, (T, S) or (B, T, S); sizes of 1 stretch.
  static Mask keep(const Tensor& kept);
  /// Drops where true: PyTorch's key_padding_mask and MultiheadAttention polarity. Same shapes.
  static Mask drop(const Tensor& dropped);

  Mask operator&(const Mask& other) const;  ///< keeps what both keep

  bool keeps_all() const { return terms_.empty(); }

  /// The mask written out: bool, (B or 1, T, S), true where kept. ShapeError if a term does not
  /// fit.
  Tensor to_tensor(std::int64_t B, std::int64_t T, std::int64_t S) const;

  /// A grid for one batch row: '#' kept, '.' dropped; one line a query. IndexError beyond B.
  std::string describe(std::int64_t B, std::int64_t T, std::int64_t S,
                       std::int64_t batch_row = 0) const;

 private:
  struct Term;  // in mask.cpp
  using TermPtr = std::shared_ptr<const Term>;
  explicit Mask(std::vector<TermPtr> terms) : terms_(std::move(terms)) {}

  std::vector<TermPtr> terms_;
};

}  // namespace fovea
