// Scaled dot-product attention: a fused, exact implementation with O(T) memory, and its reference
// implementation.
//
// B batch, H query heads, G key/value heads (H is a multiple of G; query head h uses key/value head
// h / (H / G)), T queries, S keys, D head width, E value width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/ops/score_mod.h>
#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

#include <optional>

namespace fovea {

struct AttentionOptions {
  std::optional<double> scale = {};  ///< factor of q . k; 1 / sqrt(D) by default
  double dropout = 0;       ///< p, on the weights after softmax; the others are scaled by 1/(1-p)
  Rng* rng = nullptr;       ///< source of dropout's random bits; required if dropout > 0
  ScoreMod score_mod = {};  ///< modifies the scaled scores before the mask and softmax
  /// (H): one extra logit per head, which takes part in the softmax but has no value; zeros give
  /// softmax-plus-one (Miller 2023, Attention Is Off By One; Xiao et al. 2024, Efficient Streaming
  /// Language Models with Attention Sinks). Trainable.
  Tensor sinks = {};
};

/// Output of scaled_dot_product_attention_with_lse.
struct AttentionResult {
  Tensor output;  ///< (B, H, T, E)
  Tensor
      logsumexp;  ///< (B, H, T), of the modified scores (and the sink); -inf if no key is attended
};

/// y_t = sum_s a_ts v_s,   a_t = softmax_s(mod(scale q_t . k_s)) over the keys that the mask allows
///   q: (B, H, T, D)  k: (B, G, S, D)  v: (B, G, S, E)  ->  (B, H, T, E)
/// Computed in tiles with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022,
/// FlashAttention, algorithms 1 and 2): no (T, S) matrix is stored, in the forward or the backward,
/// and fully masked tiles are skipped. Dropout's bits are a function of batch, head, query and key,
/// and are generated again in the backward. A query that attends no key has output 0 and gradient
/// 0. A NaN or infinity in a key or value affects only the queries that attend it, in the forward
/// and the backward; such a query gives no gradient if the loss does not use it (dy = 0). q, k and
/// v may be strided views; the output has the memory layout of q. The second derivative is computed
/// through attention_reference. The backward computes the weights as exp(score - logsumexp) from a
/// rounded logsumexp: their relative error is up to about exp(eps |logsumexp|), so f32 needs scores
/// well below 1e6. The same holds for attention_head_mean.
/// ShapeError, DTypeError, ValueError (dropout outside [0, 1) or without rng).
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// The same, and the logarithm of each softmax's denominator; both outputs have gradients.
AttentionResult scaled_dot_product_attention_with_lse(const Tensor& q, const Tensor& k,
                                                      const Tensor& v,
                                                      const Mask& mask = Mask::none(),
                                                      const AttentionOptions& options = {});

/// Packed sequences of different lengths; each attends only its own keys.
///   q: (sum T_b, H, D)  k: (sum S_b, G, D)  v: (sum S_b, G, E)  ->  (sum T_b, H, E), q's index
/// mask: none, causal or window, applied to each sequence's own T_b and S_b; ValueError for masks
/// made for padded batches.
Ragged scaled_dot_product_attention(const Ragged& q, const Ragged& k, const Ragged& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// Reference implementation in plain ops, with the full (B, H, T, S) matrix. Draws as many random
/// words from options.rng as the fused implementation, and uses the same bits for the same element.
AttentionResult attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// The weights of queries [begin, end), before dropout, detached: (B, H, end - begin, S). For
/// inspection; takes O((end - begin) S) memory.
Tensor attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                         const AttentionOptions& options, std::int64_t begin, std::int64_t end);

/// The mean of the weights over all heads, before dropout, detached: (B, T, S). `logsumexp` is the
/// result of scaled_dot_product_attention_with_lse for the same q, k, mask and options: with it the
/// weights are computed from the scores tile by tile, without a (B, H, T, S) tensor. ShapeError,
/// DTypeError.
Tensor attention_head_mean(const Tensor& q, const Tensor& k, const Mask& mask,
                           const AttentionOptions& options, const Tensor& logsumexp);

}  // namespace fovea
