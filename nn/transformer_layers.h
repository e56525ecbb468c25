// The layers of the Transformer and their stacks, with PyTorch's names.
//
// B batch, T length (of the target), S source length, C width `d_model`, F `dim_feedforward`.
#pragma once

#include <fovea/core/ops/feed_forward.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/norm.h>

#include <functional>
#include <optional>
#include <vector>

namespace fovea::nn {

using fovea::Activation;

struct TransformerLayerOptions {
  std::int64_t d_model;                 ///< C
  std::int64_t nhead;                   ///< H
  std::int64_t dim_feedforward = 2048;  ///< F
  double dropout = 0.1;                 ///< after each sublayer and inside the feed-forward net
  std::optional<double> attention_dropout = {};  ///< on the weights; as `dropout` if not given
  Activation activation = Activation::relu;
  bool norm_first = false;  ///< the norm before each sublayer (pre-norm), not after (post-norm)
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;  ///< of RMSNorm too
  bool bias = true;              ///< of every linear layer and LayerNorm
  // Self-attention only:
  bool causal = false;
  std::int64_t num_kv_heads = 0;  ///< G; 0: H
  std::int64_t head_dim = 0;      ///< D; 0: C / H
  std::int64_t window_left = -1, window_right = -1;
  std::optional<RopeOptions> rope = {};
  bool alibi = false;
  double soft_cap = 0;  ///< of scores; 0: none
  bool sinks = false;
  bool qk_norm = false;
};

/// The common base of encoder and decoder layers: the feed-forward net, and the residual connection
/// of a sublayer f.
///   post-norm  y = norm(x + dropout(f(x)))       Vaswani et al. 2017, section 3.1
///   pre-norm   y = x + dropout(f(norm(x)))       Xiong et al. 2020, On Layer Normalization in the
///                                                Transformer Architecture, figure 1 (b)
///   ff(x) = W_2 dropout(act(W_1 x + b_1)) + b_2, act = ReLU or GELU (exact)
///   ff(x) = W_2 dropout(silu(W_1 x + b_1) * (W_3 x + b_3)) + b_2     SwiGLU: Shazeer 2020, GLU
///                                                Variants Improve Transformer, eq. 6
class TransformerLayer : public Module {
  TransformerLayerOptions options_;

 public:
  /// The attention of one sublayer: from its (normalized) input to the residual added to x.
  using Sublayer = std::function<Tensor(const Tensor&)>;

  const TransformerLayerOptions& options() const { return options_; }

  Linear linear1, linear2;        ///< (F, C), (C, F)
  std::optional<Linear> linear3;  ///< W_3 of SwiGLU (F, C)
  Dropout drop;

 protected:
  TransformerLayer(const TransformerLayerOptions& options, Rng& rng);
  Tensor sublayer(const Tensor& x, const Norm& norm, const Sublayer& f) const;
  Tensor feed_forward(const Tensor& x) const;  ///< (..., C) -> (..., C)
  Norm make_norm() const;
};

/// Self-attention, then the feed-forward net.    x: (B, T, C)  ->  (B, T, C)
/// As torch.nn.TransformerEncoderLayer; with options.causal the layer of a decoder-only model.
class TransformerEncoderLayer : public TransformerLayer {
 public:
  TransformerEncoderLayer(const TransformerLayerOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Mask& mask = Mask::none()) const;
  /// For packed sequences, (N, C) -> (N, C); mask: made of none, causal and window.
  Ragged operator()(const Ragged& x, const Mask& mask = Mask::none()) const;
  /// The same with `self_attention` instead of self_attn, for example with a cache; x: (..., C).
  Tensor forward(const Tensor& x, const Sublayer& self_attention) const;
  void visit(Visitor& v) override;

  MultiheadAttention self_attn;
  Norm norm1, norm2;
};

/// Self-attention, attention over the encoder's output, then the feed-forward net.
///   x: (B, T, C)  memory: (B, S, C)  ->  (B, T, C).      As torch.nn.TransformerDecoderLayer: the
/// causal mask is off unless options.causal is set.
class TransformerDecoderLayer : public TransformerLayer {
 public:
  TransformerDecoderLayer(const TransformerLayerOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Tensor& memory, const Mask& mask = Mask::none(),
                    const Mask& memory_mask = Mask::none()) const;
  /// The same with the given functions instead of self_attn and multihead_attn.
  Tensor forward(const Tensor& x, const Sublayer& self_attention,
                 const Sublayer& cross_attention) const;
  void visit(Visitor& v) override;

  MultiheadAttention self_attn, multihead_attn;
  Norm norm1, norm2, norm3;
};

struct TransformerStackOptions {
  TransformerLayerOptions layer;
  std::int64_t num_layers;
  bool final_norm = false;  ///< a norm after the last layer; needed by pre-norm layers
};

/// A stack of layers, and the final norm.    x: (B, T, C)  ->  (B, T, C)
class TransformerEncoder : public Module {
 public:
  TransformerEncoder(const TransformerStackOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Mask& mask = Mask::none()) const;
  /// For packed sequences, (N, C) -> (N, C); mask: made of none, causal and window.
  Ragged operator()(const Ragged& x, const Mask& mask = Mask::none()) const;
  void visit(Visitor& v) override;

  std::vector<TransformerEncoderLayer> layers;
  std::optional<Norm> norm;
};

/// x: (B, T, C)  memory: (B, S, C)  ->  (B, T, C)
class TransformerDecoder : public Module {
 public:
  TransformerDecoder(const TransformerStackOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Tensor& memory, const Mask& mask = Mask::none(),
                    const Mask& memory_mask = Mask::none()) const;
  void visit(Visitor& v) override;

  std::vector<TransformerDecoderLayer> layers;
  std::optional<Norm> norm;
};

}  // namespace fovea::nn
