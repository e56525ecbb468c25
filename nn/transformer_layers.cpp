#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/transformer_layers.h>

namespace fovea::nn {
namespace {

using LayerOptions = TransformerLayerOptions;

MultiheadAttentionOptions cross_attention(const LayerOptions& o) {
  return {.embed_dim = o.d_model,
          .num_heads = o.nhead,
          .bias = o.bias,
          .dropout = o.attention_dropout.value_or(o.dropout)};
}

MultiheadAttentionOptions self_attention(const LayerOptions& o) {
  MultiheadAttentionOptions a = cross_attention(o);
  a.num_kv_heads = o.num_kv_heads;
  a.head_dim = o.head_dim;
  a.causal = o.causal;
  a.window_left = o.window_left;
  a.window_right = o.window_right;
  a.rope = o.rope;
  a.alibi = o.alibi;
  a.soft_cap = o.soft_cap;
  a.sinks = o.sinks;
  a.qk_norm = o.qk_norm;
  return a;
}

LayerOptions checked(const LayerOptions& o) {
  check_sizes("TransformerLayer", {{"d_model", o.d_model}, {"dim_feedforward", o.dim_feedforward}});
  return o;
}

std::optional<Norm> final_norm(const TransformerStackOptions& o) {
  if (!o.final_norm) return std::nullopt;
  return Norm({.width = o.layer.d_model,
               .kind = o.layer.norm,
               .eps = o.layer.layer_norm_eps,
               .bias = o.layer.bias});
}

template <class Layer>
std::vector<Layer> make_layers(const TransformerStackOptions& o, Rng& rng) {
  checked_range("Transformer", "num_layers", o.num_layers, 0, kMaxLayers);
  std::vector<Layer> layers;
  layers.reserve(static_cast<std::size_t>(o.num_layers));
  for (std::int64_t i = 0; i < o.num_layers; ++i) layers.emplace_back(o.layer, rng);
  return layers;
}

}  // namespace

// --- one layer -----------------------------------------------------------------------------------

TransformerLayer::TransformerLayer(const LayerOptions& o, Rng& rng)
    : options_(checked(o)),
      linear1({.in_features = o.d_model, .out_features = o.dim_feedforward, .bias = o.bias}, rng),
      linear2({.in_features = o.dim_feedforward, .out_features = o.d_model, .bias = o.bias}, rng),
      drop(o.dropout, rng) {
  if (o.activation == Activation::swiglu)
    linear3.emplace(LinearOptions{o.d_model, o.dim_feedforward, o.bias}, rng);
}

Norm TransformerLayer::make_norm() const {
  return Norm({.width = options_.d_model,
               .kind = options_.norm,
               .eps = options_.layer_norm_eps,
               .bias = options_.bias});
}

Tensor TransformerLayer::sublayer(const Tensor& x, const Norm& norm, const Sublayer& f) const {
  return options_.norm_first ? x + drop(f(norm(x))) : norm(x + drop(f(x)));
}

Tensor TransformerLayer::feed_forward(const Tensor& x) const {
  if (feed_forward_in_one_pass(x) && !drop.is_on())
    return fovea::feed_forward(x, options_.activation,
                               {.w1 = linear1.weight,
                                .b1 = linear1.bias,
                                .w2 = linear2.weight,
                                .b2 = linear2.bias,
                                .w3 = linear3 ? linear3->weight : Tensor(),
                                .b3 = linear3 ? linear3->bias : Tensor()});
  const Tensor in = linear1(x);  // (B, T, F)
  switch (options_.activation) {
    case Activation::relu:
      return linear2(drop.of_relu(in));
    case Activation::gelu:
      return linear2(drop(gelu(in)));
    case Activation::swiglu:
      return linear2(drop(silu(in) * (*linear3)(x)));
  }
  value_error("TransformerLayer", "unknown activation");
}

TransformerEncoderLayer::TransformerEncoderLayer(const LayerOptions& o, Rng& rng)
    : TransformerLayer(o, rng),
      self_attn(self_attention(o), rng),
      norm1(make_norm()),
      norm2(make_norm()) {}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const Mask& mask) const {
  return forward(x, [&](const Tensor& n) { return self_attn(n, mask); });
}

Ragged TransformerEncoderLayer::operator()(const Ragged& x, const Mask& mask) const {
  const auto attend = [&](const Tensor& n) { return self_attn(Ragged{n, x.index}, mask).values; };
  return {forward(x.values, attend), x.index};
}

Tensor TransformerEncoderLayer::forward(const Tensor& x, const Sublayer& self) const {
  const Scope in(*this);
  const Tensor h = sublayer(x, norm1, self);
  return sublayer(h, norm2, [this](const Tensor& n) { return feed_forward(n); });
}

TransformerDecoderLayer::TransformerDecoderLayer(const LayerOptions& o, Rng& rng)
    : TransformerLayer(o, rng),
      self_attn(self_attention(o), rng),
      multihead_attn(cross_attention(o), rng),
      norm1(make_norm()),
      norm2(make_norm()),
      norm3(make_norm()) {}

Tensor TransformerDecoderLayer::operator()(const Tensor& x, const Tensor& memory, const Mask& mask,
                                           const Mask& memory_mask) const {
  return forward(
      x, [&](const Tensor& n) { return self_attn(n, mask); },
      [&](const Tensor& n) { return multihead_attn(n, memory, memory, memory_mask); });
}

Tensor TransformerDecoderLayer::forward(const Tensor& x, const Sublayer& self,
                                        const Sublayer& cross) const {
  const Scope in(*this);
  const Tensor h1 = sublayer(x, norm1, self);
  const Tensor h2 = sublayer(h1, norm2, cross);
  return sublayer(h2, norm3, [this](const Tensor& n) { return feed_forward(n); });
}

// In the order of PyTorch's state_dict.
void TransformerEncoderLayer::visit(Visitor& v) {
  v("self_attn", self_attn);
  v("linear1", linear1);
  v("linear2", linear2);
  v("linear3", linear3);
  v("norm1", norm1);
  v("norm2", norm2);
  v("drop", drop);
}

void TransformerDecoderLayer::visit(Visitor& v) {
  v("self_attn", self_attn);
  v("multihead_attn", multihead_attn);
  v("linear1", linear1);
  v("linear2", linear2);
  v("linear3", linear3);
  v("norm1", norm1);
  v("norm2", norm2);
  v("norm3", norm3);
  v("drop", drop);
}

// --- stacks --------------------------------------------------------------------------------------

TransformerEncoder::TransformerEncoder(const TransformerStackOptions& o, Rng& rng)
    : layers(make_layers<TransformerEncoderLayer>(o, rng)), norm(final_norm(o)) {}

Tensor TransformerEncoder::operator()(const Tensor& x, const Mask& mask) const {
  const Scope in(*this);
  Tensor y = x;
  for (const TransformerEncoderLayer& layer : layers) y = layer(y, mask);
  return norm ? (*norm)(y) : y;
}

Ragged TransformerEncoder::operator()(const Ragged& x, const Mask& mask) const {
  const Scope in(*this);
  Ragged y = x;
  for (const TransformerEncoderLayer& layer : layers) y = layer(y, mask);
  return norm ? Ragged{(*norm)(y.values), y.index} : y;
}

void TransformerEncoder::visit(Visitor& v) {
  v("layers", layers);
  v("norm", norm);
}

TransformerDecoder::TransformerDecoder(const TransformerStackOptions& o, Rng& rng)
    : layers(make_layers<TransformerDecoderLayer>(o, rng)), norm(final_norm(o)) {}

Tensor TransformerDecoder::operator()(const Tensor& x, const Tensor& memory, const Mask& mask,
                                      const Mask& memory_mask) const {
  const Scope in(*this);
  Tensor y = x;
  for (const TransformerDecoderLayer& layer : layers) y = layer(y, memory, mask, memory_mask);
  return norm ? (*norm)(y) : y;
}

void TransformerDecoder::visit(Visitor& v) {
  v("layers", layers);
  v("norm", norm);
}

}  // namespace fovea::nn
