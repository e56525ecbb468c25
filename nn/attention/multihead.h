// Multi-head attention: self and cross, grouped heads, and its two halves for decoders and caches.
//
// B batch, H query heads, G key/value heads, T queries, S keys, C width, D head width.
#pragma once

#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/rope.h>
#include <fovea/nn/attention/attention.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/norm.h>

#include <optional>

namespace fovea::nn {

struct MultiheadAttentionOptions {
  std::int64_t embed_dim;         ///< C, of the queries and of the output
  std::int64_t num_heads;         ///< H
  std::int64_t num_kv_heads = 0;  ///< G; H is a multiple of it; 0: H
  std::int64_t kdim = 0;          ///< width of the keys; 0: C
  std::int64_t vdim = 0;          ///< width of the values; 0: C
  std::int64_t head_dim = 0;      ///< D; 0: C / H
  bool bias = true;
  double dropout = 0;  ///< on the weights
  bool causal = false;
  std::int64_t window_left = -1;  ///< keys before a query's own place; -1: no limit
  std::int64_t window_right = -1;
  /// What causal, window and alibi mean when T and S differ. bottom_right: the last query and the
  /// last key stand at the same place, as with a cache.
  Mask::Corner corner = Mask::Corner::bottom_right;
  std::optional<RopeOptions> rope = {};  ///< turns queries and keys by their positions
  bool alibi = false;                    ///< scores fall with the distance (Press et al. 2022)
  double soft_cap = 0;   ///< scores become cap tanh(score / cap), before alibi; 0: they stay
  bool sinks = false;    ///< a learned logit for each head that gives nothing
  bool qk_norm = false;  ///< RMSNorm of each query and key head, before rope
};

/// Keys and values as the heads see them.
struct KeyValue {
  Tensor k;  ///< (B, G, S, D)
  Tensor v;  ///< (B, G, S, D)
};

/// The same of packed sequences.
struct RaggedKeyValue {
  Tensor k;  ///< (N, G, D)
  Tensor v;  ///< (N, G, D)
  RaggedIndex index;
};

/// head_h = attention(q W_h^Q, k W_g^K, v W_g^V),  y = [head_1; ...; head_H] W^O + b
///   query: (B, T, C)  key: (B, S, kdim)  value: (B, S, vdim)  ->  (B, T, C)
/// Vaswani et al. 2017, Attention Is All You Need, section 3.2.2; grouped heads (head h looks at
/// key head g = h / (H / G)): Ainslie et al. 2023, GQA; qk_norm: Dehghani et al. 2023, Scaling
/// Vision Transformers to 22 Billion Parameters, section 2.
///
/// Parameters are PyTorch's: in_proj_weight (3 H D, C), or q_proj_weight, k_proj_weight and
/// v_proj_weight where the three differ in size; in_proj_bias; out_proj. They start as
/// PyTorch's: xavier-uniform (Glorot and Bengio 2010, eq. 16), biases 0, out_proj's matrix uniform
/// in +-1/sqrt(H D). The mask is joined with the options' causal and window.
///
/// Padding is projected with the rest: it must hold numbers (0, say), or the projections' gradients
/// are NaN. ValueError for sizes that do not divide, and a dropout outside [0, 1); ShapeError.
class MultiheadAttention : public Attention {
  MultiheadAttentionOptions options_;  // first: the members below are sized by it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  MultiheadAttention(const MultiheadAttentionOptions& options, Rng& rng);

  /// The same tensor given several times is projected by one product. Positions are 0, 1, ...
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  /// Self-attention.
  Tensor operator()(const Tensor& x, const Mask& mask = Mask::none()) const;

  /// Self-attention of packed sequences, (N, C) -> (N, C), each within itself: no padding is
  /// computed. mask: of none, causal and window, else ValueError. Observers see a padded batch,
  /// whose rows behind a sequence's end mean nothing.
  Ragged operator()(const Ragged& x, const Mask& mask = Mask::none()) const;

  /// The halves of it, (N, C) -> (N, C), for as many sequences of queries as of keys: each looks at
  /// the keys of the same number. Masks as above, where a corner is that of the sequence itself;
  /// observers see the keys padded too, and their mask as one of the longest.
  RaggedKeyValue project(const Ragged& x) const;
  Ragged attend(const Ragged& query, const RaggedKeyValue& kv,
                const Mask& mask = Mask::none()) const;

  // --- in two halves: keys and values that are computed once, or grow ----------------------------
  // positions, for rope: i64, (T) or (B, T); undefined: 0, 1, ...

  KeyValue project(const Tensor& key, const Tensor& value, const Tensor& positions = {}) const;
  Tensor attend(const Tensor& query, const KeyValue& kv, const Mask& mask = Mask::none(),
                const Tensor& positions = {}) const;

  /// The whole projection of self-attention, by one product where the weights are packed.
  struct Heads {
    Tensor q;  ///< (B, H, T, D)
    KeyValue kv;
  };
  Heads project_self(const Tensor& x, const Tensor& positions = {}) const;
  /// Attention and the output projection. The mask is used as it is: keys in another order than
  /// their positions' (a ring buffer) cannot be judged by own_mask(), the caller's mask says all.
  /// Nor can they by alibi, which takes key s to stand at place s.
  Tensor attend_heads(const Tensor& q, const KeyValue& kv, const Mask& mask) const;
  Mask own_mask() const;  ///< the options' causal and window

  /// Self-attention of one more token a row by one op, where nothing but these options is in use:
  /// widths, heads, bias, rope. Masks are not asked for: the cache says what is seen.
  bool has_step() const;
  Tensor step(const Tensor& x, const AttentionStepCache& cache) const;  ///< (B, 1, C) -> the same
  /// Tells observers of queries that attend_heads() does not see; their mean over the heads is
  /// cheaper with the log-sum-exp of the scores.
  void report_heads(const Tensor& q, const Tensor& k, const Mask& mask,
                    const Tensor& logsumexp = {}) const;
  using Attention::watched;

  /// The weights, before dropout and without history: (B, H, T, S). Values may be undefined.
  Tensor weights(const Tensor& query, const KeyValue& kv, const Mask& mask = Mask::none(),
                 const Tensor& positions = {}) const;

  void visit(Visitor& v) override;
  const MultiheadAttentionOptions& options() const { return options_; }  ///< with the 0s filled in

  Tensor in_proj_weight;                               ///< (3 H D, C), or undefined and ...
  Tensor q_proj_weight, k_proj_weight, v_proj_weight;  ///< (H D, C), (G D, kdim), (G D, vdim)
  Tensor in_proj_bias;                                 ///< (H D + 2 G D)
  Linear out_proj;
  std::optional<RMSNorm> q_norm, k_norm;
  Tensor sinks;  ///< (H)

 private:
  AttentionOptions attention_options() const;
  Tensor query_heads(const Tensor& projected, const Tensor& positions) const;
  KeyValue key_value_heads(const Tensor& k, const Tensor& v, const Tensor& positions) const;
  Tensor project_query(const Tensor& query) const;
  Tensor places_for_rope(const RaggedIndex& index) const;
  Ragged attend_rows(const Ragged& q, const RaggedKeyValue& kv, const Mask& mask) const;
  std::int64_t query_width() const { return options_.num_heads * options_.head_dim; }
  std::int64_t kv_width() const { return options_.num_kv_heads * options_.head_dim; }

  Rng* rng_;
};

/// Where each row of a packed batch stands in its own sequence, from 0: i64 (N).
Tensor places_in(const RaggedIndex& index);

}  // namespace fovea::nn
