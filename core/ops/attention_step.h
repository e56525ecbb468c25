// Self-attention of one more token a row, with a cache of keys and values that grows by it.
//
// B batch, C width, H query heads, G key/value heads (H is a multiple of G), D head width.
#pragma once

#include <fovea/core/ops/rope.h>
#include <fovea/core/tensor.h>

#include <optional>

namespace fovea {

struct AttentionStepWeights {
  /// (H D, C), (G D, C), (G D, C); or q holds all three, one below the other, and k and v are
  /// undefined.
  Tensor q, k, v;
  Tensor bias;           ///< (H D + 2 G D), of the queries, keys and values; may be undefined
  Tensor out, out_bias;  ///< (C, H D), (C); out_bias may be undefined
  std::optional<RopeOptions> rope = {};  ///< turns queries and keys by the new token's place
};

/// Where a step finds the past and leaves its key and value. Token m is in slot m % slots.
struct AttentionStepCache {
  Tensor keys, values;    ///< (B, G, slots, D), dense; written to
  std::int64_t position;  ///< m of the new token, the same in all rows
  std::int64_t count;     ///< how many tokens are seen, the new one last
};

/// y = attention(q, keys, values) W^O + b,  q = x W^Q + b^Q, after x's own key and value have gone
/// to their slot.    x: (B, 1, C)  ->  (B, 1, C)
/// One pass over the weights instead of a dozen ops. Without gradients only: StateError where one
/// is wanted. ShapeError, DTypeError; ValueError for a count below 1, above the slots or above
/// position + 1.
Tensor attention_step(const Tensor& x, const AttentionStepWeights& weights,
                      const AttentionStepCache& cache);

/// The definition in plain ops, which writes to the cache as well.
Tensor attention_step_reference(const Tensor& x, const AttentionStepWeights& weights,
                                const AttentionStepCache& cache);

}  // namespace fovea
