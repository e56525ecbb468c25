// KvCache: keys and values of the tokens so far, so that a decoder computes only the new ones.
//
// B batch, G key/value heads, T new tokens, S cached tokens that are seen, D head width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/nn/attention/multihead.h>

#include <cstdint>
#include <vector>

namespace fovea::nn {

struct KvCacheOptions {
  std::int64_t batch_size;     ///< B
  std::int64_t num_kv_heads;   ///< G
  std::int64_t head_dim;       ///< D
  std::int64_t capacity = 0;   ///< tokens of a row; 0, with a window: no end, the cache is a ring
  std::int64_t window = 0;     ///< keys that a query sees, its own the last; 0: all before it
  std::int64_t max_chunk = 1;  ///< of a ring: tokens a row that may come at once
  DType dtype = DType::f32;
};

/// Keys and values of one attention layer. Memory is taken once: `capacity` places a row, or a ring
/// of window + max_chunk - 1 in which the oldest are overwritten. A step costs O(T) for writing and
/// no copy of what is there; its result is that of the full causal forward (of a window's mask).
/// Rows may hold unequal numbers of tokens.
///
///   const auto heads = attn.project_self(x, cache.next_positions(T));
///   const KvCache::Seen seen = cache.append(heads.kv);
///   y = attn.attend_heads(heads.q, seen.kv, seen.mask);
class KvCache {
 public:
  /// ValueError for sizes below 1, and with neither capacity nor window.
  explicit KvCache(const KvCacheOptions& options);
  // A copy would share the numbers and count its own tokens: both would write to the same places.
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;

  /// What the queries of the tokens just appended look at.
  struct Seen {
    KeyValue kv;  ///< (B, G, S, D), views of the cache: good until the next append
    /// For T queries and S keys. In a ring keys are in no order. Elsewhere key s is token s, and
    /// no query t is a token behind t + S - T, so that biases by distance (ALiBi) come out right;
    /// unless rows of unequal length leave a padded chunk no place at the end of the capacity.
    Mask mask;
  };

  /// Adds T tokens a row, or, of row b, its first counts[b]; what follows in the row is not kept
  /// and its queries' results mean nothing.    kv: (B, G, T, D), already turned by their positions
  /// StateError: more than the capacity, nothing was added; a gradient is wanted, which ends here
  /// (use NoGrad).   ValueError: more than max_chunk; counts below 0 or above T.   ShapeError,
  /// DTypeError.
  Seen append(const KeyValue& kv, const std::vector<std::int64_t>& counts = {});

  /// All of that: x's keys and values are added, its queries look at what is there.
  ///   x: (B, T, C)  ->  (B, T, C)
  /// One token a row, in rows of equal length, takes one op where `attn` has a step() for it.
  Tensor extend(const MultiheadAttention& attn, const Tensor& x,
                const std::vector<std::int64_t>& counts = {});

  /// Where the next T tokens stand: i64, (T) if all rows hold equally many, else (B, T).
  Tensor next_positions(std::int64_t T) const;

  const std::vector<std::int64_t>& lengths() const { return lengths_; }  ///< so far, of each row
  void clear() { lengths_.assign(lengths_.size(), 0); }
  const KvCacheOptions& options() const { return options_; }
  std::int64_t slots() const { return keys_.dim(2); }  ///< places that a row has
  bool is_ring() const { return options_.capacity == 0; }

 private:
  struct Step {  // one append
    std::int64_t T;
    std::vector<std::int64_t> begin, end;  // (B): each row's tokens before and after it
    bool rows_alike;                       // all begin and all end at the same place
  };
  Step checked_step(const KeyValue& kv, const std::vector<std::int64_t>& counts) const;
  void write(const KeyValue& kv, const Step& step);
  bool takes_step(const MultiheadAttention& attn, const Tensor& x,
                  const std::vector<std::int64_t>& counts) const;
  Mask mask_of(const Step& step, std::int64_t S) const;
  Mask table_of(const Step& step, std::int64_t S) const;

  KvCacheOptions options_;
  Tensor keys_, values_;               // (B, G, slots, D); token m of a row is in slot m % slots
  std::vector<std::int64_t> lengths_;  // (B)
};

}  // namespace fovea::nn
