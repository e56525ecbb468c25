// Scaled dot-product attention: fused and exact, with O(T) memory, and its definition.
//
// B batch, H query heads, G key/value heads (H is a multiple of G; query head h looks at key head
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
  std::optional<double> scale = {};  ///< of q . k; 1 / sqrt(D) if not given
  double dropout = 0;                ///< on the weights, after softmax; the rest grows by 1/(1-p)
  Rng* rng = nullptr;                ///< where dropout's bits come from; needed if dropout > 0
  ScoreMod score_mod = {};           ///< changes the scaled scores before the mask and softmax
  /// (H): for each head a logit that takes weight and gives nothing; zeros are softmax-plus-one
  /// (Miller 2023, Attention Is Off By One; Xiao et al. 2024, Efficient Streaming Language Models
  /// with Attention Sinks). Trainable.
  Tensor sinks = {};
};

/// What the fused path computes.
struct AttentionResult {
  Tensor output;     ///< (B, H, T, E)
  Tensor logsumexp;  ///< (B, H, T), of the modified scores (and the sink); -inf where none is kept
};

/// y_t = sum_s a_ts v_s,   a_t = softmax_s(mod(scale q_t . k_s)) over the keys that the mask keeps
///   q: (B, H, T, D)  k: (B, G, S, D)  v: (B, G, S, E)  ->  (B, H, T, E)
/// Computed by tiles with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022,
/// FlashAttention, algorithms 1 and 2): no (T, S) matrix is ever stored, forward or backward, and
/// tiles that the mask empties are skipped. Dropout's bits are a function of their place and are
/// made again in the backward. A query that keeps no key has output 0 and gradient 0. A NaN
/// or infinity in a key or value reaches only the queries that keep it, forward and backward; such
/// a query, if a loss does not use it (dy = 0), gives no gradient. q, k and v may be strided views;
/// the output lies in memory as q does. The second derivative goes through attention_reference.
/// The backward takes the weights as exp(score - logsumexp), with a rounded logsumexp: they are
/// wrong by a factor of up to about exp(eps |logsumexp|), so f32 needs scores well below 1e6. The
/// same holds for attention_head_mean.
/// ShapeError, DTypeError, ValueError (dropout outside [0, 1) or without rng).
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// The same with the logarithm of each softmax's denominator; both outputs have gradients.
AttentionResult scaled_dot_product_attention_with_lse(const Tensor& q, const Tensor& k,
                                                      const Tensor& v,
                                                      const Mask& mask = Mask::none(),
                                                      const AttentionOptions& options = {});

/// Sequences of unequal length, packed; each looks at its own keys only.
///   q: (sum T_b, H, D)  k: (sum S_b, G, D)  v: (sum S_b, G, E)  ->  (sum T_b, H, E), q's index
/// mask: of none, causal and window, applied to each sequence's own T_b and S_b; ValueError for
/// masks that were made for padded batches.
Ragged scaled_dot_product_attention(const Ragged& q, const Ragged& k, const Ragged& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// The definition in plain ops, with the (B, H, T, S) matrix written out. Takes as many draws from
/// options.rng as the fused path, with the same bits for the same place.
AttentionResult attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask = Mask::none(),
                                    const AttentionOptions& options = {});

/// The weights of queries [begin, end), before dropout, without history: (B, H, end - begin, S).
/// For looking inside; costs O((end - begin) S) memory.
Tensor attention_weights(const Tensor& q, const Tensor& k, const Mask& mask,
                         const AttentionOptions& options, std::int64_t begin, std::int64_t end);

/// The mean of all heads' weights, before dropout, without history: (B, T, S). `logsumexp` is what
/// scaled_dot_product_attention_with_lse gave for the same q, k, mask and options: with it the
/// weights follow from the scores alone, tile by tile, and no (B, H, T, S) tensor is made.
/// ShapeError, DTypeError.
Tensor attention_head_mean(const Tensor& q, const Tensor& k, const Mask& mask,
                           const AttentionOptions& options, const Tensor& logsumexp);

}  // namespace fovea
