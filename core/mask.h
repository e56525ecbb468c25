// Mask: what may look at what. It always says what is KEPT; a bare bool tensor is not a Mask.
//
// Axes: B batch, H heads, T queries, S keys. A query that keeps no key has output 0, weights 0 and
// gradient 0, on every path.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace fovea {

/// The sizes of the scores that a mask is for.
struct MaskSizes {
  std::int64_t B, H, T, S;
};

/// A mask made ready for tiles: query (b, t) keeps key s if begin <= s < end and all tables say so.
/// Takes O(B T) memory beside the tables that the user made.
struct MaskPlan {
  std::vector<std::int64_t> begin, end;  ///< (T), or (B, T) if per_row; empty: all keys
  bool per_row = false;                  ///< begin and end differ between batch rows
  /// bool, (B or 1, H or 1, T or 1, S or 1), true where kept.
  std::vector<Tensor> tables;
  /// Documents whose keys do not lie together: i64 (B or 1, T) and (B or 1, S), kept where equal.
  struct Ids {
    Tensor query, key;
  };
  std::vector<Ids> ids;
};

/// How many (batch, head, query, key) the plan keeps: looks at each where there are tables or ids.
std::int64_t kept_pairs(const MaskPlan& plan, const MaskSizes& sizes);

/// A condition on (batch, head, query, key), or several joined by &.
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
  /// Keeps the keys of the query's own document.   ids: i64, (T) or (B, T), for queries and keys
  static Mask documents(const Tensor& ids);
  static Mask documents(const Tensor& query_ids, const Tensor& key_ids);
  /// A prefix that all may look at, then causal (Raffel et al. 2020, section 3.2.1): keeps s < t's
  /// causal limit, or s < prefix_lengths[b]. ValueError if a length is negative.
  static Mask prefix_lm(std::vector<std::int64_t> prefix_lengths, Corner corner = Corner::unset);
  /// Keeps where true.   kept: bool, (T, S), (B, T, S) or (B, H, T, S); sizes of 1 stretch. Three
  /// axes always mean the batch, never the heads (and not PyTorch's (B * H, T, S)): a table per
  /// head is (1, H, T, S). ScoreMod::bias takes no three axes.
  static Mask keep(const Tensor& kept);
  /// Drops where true, as PyTorch's MultiheadAttention says it. Same shapes.
  static Mask drop(const Tensor& dropped);
  /// The same of keys alone, for every query: bool, (B, S). drop_keys() takes PyTorch's
  /// key_padding_mask.
  static Mask keep_keys(const Tensor& kept);
  static Mask drop_keys(const Tensor& dropped);

  Mask operator&(const Mask& other) const;  ///< keeps what both keep

  /// The same, but a query that keeps no key is a ValueError that names batch row, head and query.
  Mask strict() const;

  bool keeps_all() const { return terms_.empty() && !strict_; }

  /// For the fused kernels. ShapeError if a term does not fit, ValueError where strict() is hurt.
  MaskPlan plan(const MaskSizes& sizes) const;

  /// The mask written out: bool, (B or 1, H or 1, T, S), true where kept. Errors as plan().
  Tensor to_tensor(const MaskSizes& sizes) const;
  /// For scores without heads: (B or 1, T, S). ShapeError if the mask differs between heads.
  Tensor to_tensor(std::int64_t B, std::int64_t T, std::int64_t S) const;

  /// A grid for one batch row and head: '#' kept, '.' dropped; one line a query. IndexError.
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
