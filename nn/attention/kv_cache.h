// KvCache: keys and values of the past tokens, so that a decoder computes only the new ones.
//
// B batch, G key/value heads, T new tokens, S cached tokens that are visible, D head width.
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
  std::int64_t capacity = 0;   ///< tokens per row; 0, with a window: unlimited, a ring buffer
  std::int64_t window = 0;     ///< keys visible to a query, the last is its own; 0: all up to it
  std::int64_t max_chunk = 1;  ///< of a ring buffer: the most tokens per row in one append
  DType dtype = DType::f32;
};

/// Keys and values of one attention layer. Memory is allocated once: `capacity` slots per row, or a
/// ring buffer of window + max_chunk - 1 slots in which the oldest tokens are overwritten. A step
/// writes O(T) tokens and does not copy the cached ones; its result equals that of the full causal
/// forward pass (with the mask of the window). Rows may hold different numbers of tokens.
///
///   const auto heads = attn.project_self(x, cache.next_positions(T));
///   const KvCache::Visible visible = cache.append(heads.kv);
///   y = attn.attend_heads(heads.q, visible.kv, visible.mask);
class KvCache {
 public:
  /// ValueError for sizes below 1, and if neither capacity nor window is given.
  explicit KvCache(const KvCacheOptions& options);
  // A copy would share the storage but count its own tokens: both would write to the same slots.
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;

  /// The keys, values and mask for the queries of the tokens just appended.
  struct Visible {
    KeyValue kv;  ///< (B, G, S, D), views of the cache: valid until the next append
    /// For T queries and S keys. In a ring buffer the keys are not in order. Otherwise key s is
    /// token s, and query t is at most token t + S - T, so that distance biases (ALiBi) are
    /// correct; except if rows have different lengths and the padded chunk does not fit into the
    /// capacity.
    Mask mask;
  };

  /// Appends T tokens per row, or only the first counts[b] tokens of row b; the remaining tokens of
  /// the row are ignored, and the results of their queries are meaningless.
  ///   kv: (B, G, T, D), with rope already applied
  /// StateError: more tokens than the capacity (nothing is appended); the input requires a
  /// gradient, which the cache does not support (use NoGrad).   ValueError: more than max_chunk;
  /// counts below 0 or above T.   ShapeError, DTypeError.
  Visible append(const KeyValue& kv, const std::vector<std::int64_t>& counts = {});

  /// Projection, append and attention in one call: appends the keys and values of x, and attends to
  /// the visible tokens.
  ///   x: (B, T, C)  ->  (B, T, C)
  /// One token per row, in rows of equal length, runs as one fused op if attn.has_step().
  Tensor extend(const MultiheadAttention& attn, const Tensor& x,
                const std::vector<std::int64_t>& counts = {});

  /// The positions of the next T tokens: i64, (T) if all rows hold the same number, else (B, T).
  Tensor next_positions(std::int64_t T) const;

  const std::vector<std::int64_t>& lengths() const { return lengths_; }  ///< tokens of each row
  void clear() { lengths_.assign(lengths_.size(), 0); }
  const KvCacheOptions& options() const { return options_; }
  std::int64_t slots() const { return keys_.dim(2); }  ///< allocated tokens per row
  bool is_ring() const { return options_.capacity == 0; }

 private:
  struct Step {  // one append
    std::int64_t T;
    std::vector<std::int64_t> begin, end;  // (B): tokens of each row before and after the append
    bool equal_rows;                       // all rows have the same begin and end
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
