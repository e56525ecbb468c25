// Self-attention for one decoder step: one new token per batch row, appended to a cache of keys and
// values.
//
// B batch, C width, H query heads, G key/value heads (H is a multiple of G), D head width.
#pragma once

#include <fovea/core/ops/rope.h>
#include <fovea/core/tensor.h>

#include <optional>

namespace fovea {

struct AttentionStepWeights {
  /// (H D, C), (G D, C), (G D, C); or q holds all three, stacked along axis 0, and k and v are
  /// undefined.
  Tensor q, k, v;
  Tensor bias;           ///< (H D + 2 G D), of the queries, keys and values; may be undefined
  Tensor out, out_bias;  ///< (C, H D), (C); out_bias may be undefined
  std::optional<RopeOptions> rope = {};  ///< rotates queries and keys by the new token's position
};

/// The cache that a step reads and writes. Token m is in slot m % slots.
struct AttentionStepCache {
  Tensor keys, values;    ///< (B, G, slots, D), dense; modified in place
  std::int64_t position;  ///< m of the new token, the same for all batch rows
  std::int64_t count;     ///< number of attended tokens, the new one last
};

/// y = attention(q, keys, values) W^O + b,  q = x W^Q + b^Q, after the key and value of x have been
/// written to their slot.    x: (B, 1, C)  ->  (B, 1, C)
/// One pass over the weights instead of a dozen ops. Without gradients only: StateError if one is
/// required. ShapeError, DTypeError; ValueError for a count below 1, above the number of slots or
/// above position + 1.
Tensor attention_step(const Tensor& x, const AttentionStepWeights& weights,
                      const AttentionStepCache& cache);

/// Reference implementation in plain ops; writes to the cache as well.
Tensor attention_step_reference(const Tensor& x, const AttentionStepWeights& weights,
                                const AttentionStepCache& cache);

}  // namespace fovea
