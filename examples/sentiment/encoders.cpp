#include "encoders.h"

#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/positional.h>
#include <fovea/nn/recurrent.h>
#include <fovea/nn/transformer_layers.h>

namespace nn = fovea::nn;
using fovea::Mask;
using fovea::Ragged;
using fovea::Tensor;

namespace {

class Words final : public Encoder {
 public:
  explicit Words(const ModelOptions& o) : width_(o.embed) {}
  Ragged operator()(const Ragged& x) const override { return x; }
  std::int64_t width() const override { return width_; }
  void visit(nn::Visitor&) override {}

 private:
  std::int64_t width_;
};

// Both directions of an nn::GRU or nn::LSTM.
template <class Net, class NetOptions>
class Recurrent final : public Encoder {
 public:
  Recurrent(const ModelOptions& o, fovea::Rng& rng)
      : net_(NetOptions{.input_size = o.embed,
                        .hidden_size = o.hidden,
                        .num_layers = o.layers,
                        .bidirectional = true,
                        .dropout = o.dropout},
             rng) {}
  Ragged operator()(const Ragged& x) const override { return net_(x).states; }
  std::int64_t width() const override { return 2 * net_.options().hidden_size; }
  void visit(nn::Visitor& v) override { v("net", net_); }

 private:
  Net net_;
};

// Learned positions; the words behind the last one share it.
class Places final : public nn::Module {
 public:
  static constexpr std::int64_t count = 128;

  Places(std::int64_t width, fovea::Rng& rng)
      : table_({.dim = width, .kind = nn::Positions::learned, .max_len = count}, rng) {}
  Tensor operator()(const Tensor& x) const {  // (B, T, C)
    return table_(
        x, fovea::minimum(fovea::arange(x.dim(1)), fovea::full({1}, count - 1, fovea::DType::i64)));
  }
  void visit(nn::Visitor& v) override { table_.visit(v); }

 private:
  nn::PositionalEncoding table_;
};

class SelfAttention final : public Encoder {
 public:
  SelfAttention(const ModelOptions& o, fovea::Rng& rng)
      : places_(o.embed, rng),
        attention_({.embed_dim = o.embed, .num_heads = o.heads, .dropout = o.dropout}, rng),
        norm_(o.embed),
        drop_(o.dropout, rng) {}

  Ragged operator()(const Ragged& words) const override {
    const Tensor x = places_(fovea::pad(words));  // (B, T, C)
    const Tensor seen = attention_(x, Mask::lengths(words.index.lengths()));
    return fovea::pack(norm_(x + drop_(seen)), words.index);
  }
  std::int64_t width() const override { return attention_.options().embed_dim; }
  void visit(nn::Visitor& v) override {
    v("positions", places_);
    v("attention", attention_);
    v("norm", norm_);
    v("drop", drop_);
  }

 private:
  Places places_;
  nn::MultiheadAttention attention_;
  nn::LayerNorm norm_;
  nn::Dropout drop_;
};

class Layers final : public Encoder {
 public:
  Layers(const ModelOptions& o, fovea::Rng& rng)
      : places_(o.embed, rng),
        layers_({.layer = {.d_model = o.embed,
                           .nhead = o.heads,
                           .dim_feedforward = o.hidden,
                           .dropout = o.dropout,
                           .activation = nn::Activation::gelu,
                           .norm_first = true},
                 .num_layers = o.layers,
                 .final_norm = true},
                rng),
        width_(o.embed) {}

  Ragged operator()(const Ragged& words) const override {
    const Tensor x = places_(fovea::pad(words));  // (B, T, C)
    return fovea::pack(layers_(x, Mask::lengths(words.index.lengths())), words.index);
  }
  std::int64_t width() const override { return width_; }
  void visit(nn::Visitor& v) override {
    v("positions", places_);
    v("encoder", layers_);
  }

 private:
  Places places_;
  nn::TransformerEncoder layers_;
  std::int64_t width_;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(const ModelOptions& o, fovea::Rng& rng) {
  if (o.model == "bow") return std::make_unique<Words>(o);
  if (o.model == "gru+additive")
    return std::make_unique<Recurrent<nn::GRU, nn::GRUOptions>>(o, rng);
  if (o.model == "lstm+additive")
    return std::make_unique<Recurrent<nn::LSTM, nn::LSTMOptions>>(o, rng);
  if (o.model == "selfattention") return std::make_unique<SelfAttention>(o, rng);
  if (o.model == "transformer") return std::make_unique<Layers>(o, rng);
  fovea::value_error("make_encoder", "there is no model '{}'", o.model);
}
