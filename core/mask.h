// Mask: which query attends which key. A Mask always states what is KEPT (attended); a bool tensor
// does not convert to a Mask.
//
// Axes: B batch, H heads, T queries, S keys. A query that attends no key (a fully masked row) has
// output 0, weights 0 and gradient 0 in every implementation.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace fovea {

/// The sizes of the scores (B, H, T, S) that a mask is applied to.
struct MaskSizes {
  std::int64_t B, H, T, S;
};

/// A mask prepared for tiled kernels: query (b, t) attends key s if begin <= s < end, all tables
/// are true and all ids are equal. Takes O(B T) memory in addition to the user's tables.
struct MaskPlan {
  std::vector<std::int64_t> begin, end;  ///< (T), or (B, T) if per_row; empty: all keys
  bool per_row = false;                  ///< begin and end differ between batch rows
  /// bool, (B or 1, H or 1, T or 1, S or 1), true where attended.
  std::vector<Tensor> tables;
  /// For documents whose keys are not contiguous: i64 (B or 1, T) and (B or 1, S), attended where
  /// equal.
  struct Ids {
    Tensor query, key;
  };
  std::vector<Ids> ids;
};

/// The number of attended (batch, head, query, key). If there are tables or ids, every entry is
/// tested.
std::int64_t kept_pairs(const MaskPlan& plan, const MaskSizes& sizes);

/// A condition on (batch, head, query, key), or several combined with &.
class Mask {
 public:
  /// The corner of the (T, S) scores where the diagonal starts when T and S differ.
  enum class Corner { unset, top_left, bottom_right };

  static Mask none();  ///< every query attends every key
  /// Query t attends key s if s <= t; with T != S the corner is required, else ShapeError.
  /// bottom_right: s <= t + (S - T), as for the last T queries with a cache of S keys.
  static Mask causal(Corner corner = Corner::unset);
  /// Attends the first lengths[b] keys of batch row b. ValueError if a length is negative.
  static Mask lengths(std::vector<std::int64_t> lengths);
  /// Attends the keys at most `left` before and `right` after the query; negative: no limit on that
  /// side. With T != S the corner is required, as for causal().
  static Mask window(std::int64_t left, std::int64_t right, Corner corner = Corner::unset);
  /// Attends the keys of the query's own document.   ids: i64, (T) or (B, T), for queries and keys
  static Mask documents(const Tensor& ids);
  static Mask documents(const Tensor& query_ids, const Tensor& key_ids);
  /// A prefix that all queries attend, then causal (Raffel et al. 2020, section 3.2.1): query t
  /// attends key s if causal(corner) does or if s < prefix_lengths[b]. ValueError if a length is
  /// negative.
  static Mask prefix_lm(std::vector<std::int64_t> prefix_lengths, Corner corner = Corner::unset);
  /// Attended where true.   kept: bool, (T, S), (B, T, S) or (B, H, T, S); sizes of 1 broadcast.
  /// Three axes always mean (B, T, S), never heads (and not PyTorch's (B * H, T, S)): a table per
  /// head is (1, H, T, S). ScoreMod::bias does not accept three axes.
  static Mask keep(const Tensor& kept);
  /// Masked out where true: attn_mask of PyTorch's MultiheadAttention. Same shapes as keep().
  static Mask drop(const Tensor& dropped);
  /// The same for keys only, for every query: bool, (B, S). drop_keys() takes PyTorch's
  /// key_padding_mask.
  static Mask keep_keys(const Tensor& kept);
  static Mask drop_keys(const Tensor& dropped);

  Mask operator&(const Mask& other) const;  ///< attended where both masks attend

  /// The same mask, but a query that attends no key is a ValueError with its batch row, head and
  /// position.
  Mask strict() const;

  bool keeps_all() const { return terms_.empty() && !strict_; }

  /// For the fused kernels. ShapeError if a term does not match the sizes; ValueError by strict().
  MaskPlan plan(const MaskSizes& sizes) const;

  /// The mask as a tensor: bool, (B or 1, H or 1, T, S), true where attended. Errors as plan().
  Tensor to_tensor(const MaskSizes& sizes) const;
  /// For scores without heads: (B or 1, T, S). ShapeError if the mask differs between heads.
  Tensor to_tensor(std::int64_t B, std::int64_t T, std::int64_t S) const;

  /// A grid of one batch row and head: '#' attended, '.' masked out; one line per query.
  /// IndexError for a batch row or head out of range.
  std::string describe(const MaskSizes& sizes, std::int64_t batch_row = 0,
                       std::int64_t head = 0) const;
  std::string describe(std::int64_t B, std::int64_t T, std::int64_t S,
                       std::int64_t batch_row = 0) const;

 private:
  struct Term;  // in mask.cpp
  using TermPtr = std::shared_ptr<const Term>;
  explicit Mask(std::vector<TermPtr> terms) : terms_(std::move(terms)) {}

  std::vector<TermPtr> terms_;
  bool strict_ = false;
};

}  // namespace fovea
