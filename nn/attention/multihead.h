// Multi-head attention: self and cross, grouped heads, and the separate projection and attention
// steps for decoders and caches.
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
  std::int64_t window_left = -1;  ///< keys before the query's own position; -1: no limit
  std::int64_t window_right = -1;
  /// The alignment of causal, window and alibi if T and S differ. bottom_right: the last query and
  /// the last key have the same position, as with a cache.
  Mask::Corner corner = Mask::Corner::bottom_right;
  std::optional<RopeOptions> rope = {};  ///< rotary position embedding of queries and keys
  bool alibi = false;                    ///< linear distance bias (Press et al. 2022)
  double soft_cap = 0;   ///< scores become cap tanh(score / cap), before alibi; 0: no cap
  bool sinks = false;    ///< a learned extra logit per head, without a value (attention sink)
  bool qk_norm = false;  ///< RMSNorm of each query and key head, before rope
};

/// Projected keys and values, split into heads.
struct KeyValue {
  Tensor k;  ///< (B, G, S, D)
  Tensor v;  ///< (B, G, S, D)
};

/// KeyValue of packed sequences.
struct RaggedKeyValue {
  Tensor k;  ///< (N, G, D)
  Tensor v;  ///< (N, G, D)
  RaggedIndex index;
};

/// head_h = attention(q W_h^Q, k W_g^K, v W_g^V),  y = [head_1; ...; head_H] W^O + b
///   query: (B, T, C)  key: (B, S, kdim)  value: (B, S, vdim)  ->  (B, T, C)
/// Vaswani et al. 2017, Attention Is All You Need, section 3.2.2; grouped heads (query head h uses
/// key/value head g = h / (H / G)): Ainslie et al. 2023, GQA; qk_norm: Dehghani et al. 2023,
/// Scaling Vision Transformers to 22 Billion Parameters, section 2.
///
/// Parameters are PyTorch's: in_proj_weight (3 H D, C), or q_proj_weight, k_proj_weight and
/// v_proj_weight if the three differ in size; in_proj_bias; out_proj. Their initialization is
/// PyTorch's: xavier-uniform (Glorot and Bengio 2010, eq. 16), biases 0, out_proj.weight uniform
/// in +-1/sqrt(H D). The mask is combined with the options' causal and window.
///
/// Padding is projected too: it must hold finite values (for example 0), or the gradients of the
/// projections are NaN. ValueError for sizes that do not divide, and a dropout outside [0, 1);
/// ShapeError.
class MultiheadAttention : public Attention {
  MultiheadAttentionOptions options_;  // first: the members below take their sizes from it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  MultiheadAttention(const MultiheadAttentionOptions& options, Rng& rng);

  /// If query, key and value are the same tensor, they are projected by one matrix product.
  /// Positions are 0, 1, ...
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  /// Self-attention.
  Tensor operator()(const Tensor& x, const Mask& mask = Mask::none()) const;

  /// Self-attention within each of the packed sequences, (N, C) -> (N, C), without computing any
  /// padding. mask: made of none, causal and window, else ValueError. Observers receive a padded
  /// batch, whose rows after the end of a sequence are meaningless.
  Ragged operator()(const Ragged& x, const Mask& mask = Mask::none()) const;

  /// Projection and attention separately, (N, C) -> (N, C). The numbers of query and key sequences
  /// are equal: query sequence i attends to key sequence i. Masks as above, where a corner is that
  /// of each sequence; observers receive padded keys, and a mask for the longest sequence.
  RaggedKeyValue project(const Ragged& x) const;
  Ragged attend(const Ragged& query, const RaggedKeyValue& kv,
                const Mask& mask = Mask::none()) const;

  // --- projection and attention separately: keys and values are computed once, or cached
  // ---------- positions, for rope: i64, (T) or (B, T); undefined: 0, 1, ...

  KeyValue project(const Tensor& key, const Tensor& value, const Tensor& positions = {}) const;
  Tensor attend(const Tensor& query, const KeyValue& kv, const Mask& mask = Mask::none(),
                const Tensor& positions = {}) const;

  /// The projections of self-attention, by one matrix product if the weights are packed.
  struct Heads {
    Tensor q;  ///< (B, H, T, D)
    KeyValue kv;
  };
  Heads project_self(const Tensor& x, const Tensor& positions = {}) const;
  /// Attention and the output projection. Only the given mask is used, without own_mask(), which is
  /// wrong for keys that are not in the order of their positions (a ring buffer). alibi is wrong
  /// for such keys too: it assumes that key s has position s.
  Tensor attend_heads(const Tensor& q, const KeyValue& kv, const Mask& mask) const;
  Mask own_mask() const;  ///< the options' causal and window

  /// Self-attention of one more token per row by one fused op. Available if no options except
  /// widths, heads, bias and rope are in use. The cache defines the visible keys; no mask is used.
  bool has_step() const;
  Tensor step(const Tensor& x, const AttentionStepCache& cache) const;  ///< (B, 1, C) -> (B, 1, C)
  /// Reports queries that do not pass through attend_heads() to the observers; the mean over the
  /// heads is cheaper with the log-sum-exp of the scores.
  void notify_observers(const Tensor& q, const Tensor& k, const Mask& mask,
                        const Tensor& logsumexp = {}) const;
  using Attention::watched;

  /// The weights, before dropout and without graph: (B, H, T, S). kv.v may be undefined.
  Tensor weights(const Tensor& query, const KeyValue& kv, const Mask& mask = Mask::none(),
                 const Tensor& positions = {}) const;

  void visit(Visitor& v) override;
  const MultiheadAttentionOptions& options() const { return options_; }  ///< with the 0s filled in

  Tensor in_proj_weight;                               ///< (3 H D, C), or undefined, and instead
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
  Tensor rope_positions(const RaggedIndex& index) const;
  Ragged attend_rows(const Ragged& q, const RaggedKeyValue& kv, const Mask& mask) const;
  std::int64_t query_width() const { return options_.num_heads * options_.head_dim; }
  std::int64_t kv_width() const { return options_.num_kv_heads * options_.head_dim; }

  Rng* rng_;
};

/// The position of each row of a packed batch in its own sequence, from 0: i64 (N).
Tensor positions_in(const RaggedIndex& index);

}  // namespace fovea::nn
