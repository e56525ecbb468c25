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

class BagOfWords final : public Encoder {
 public:
  explicit BagOfWords(const ModelOptions& o) : width_(o.embed) {}
  Ragged operator()(const Ragged& x) const override { return x; }
  std::int64_t width() const override { return width_; }
  void visit(nn::Visitor&) override {}

 private:
  std::int64_t width_;
};

// Net: nn::RNN, nn::GRU or nn::LSTM
template <class Net>
class Recurrent final : public Encoder {
 public:
  Recurrent(const ModelOptions& o, bool bidirectional, fovea::Rng& rng)
      : net_({.input_size = o.embed,
              .hidden_size = o.hidden,
              .num_layers = o.layers,
              .bidirectional = bidirectional,
              .dropout = o.dropout,
              .recompute = o.recompute},
             rng) {}
  Ragged operator()(const Ragged& x) const override { return net_(x).states; }
  std::int64_t width() const override {
    return (net_.options().bidirectional ? 2 : 1) * net_.options().hidden_size;
  }
  void visit(nn::Visitor& v) override { v("net", net_); }

 private:
  Net net_;
};

// Learned positions; words after the last position share it.
class LearnedPositions final : public nn::Module {
 public:
  static constexpr std::int64_t count = 128;

  LearnedPositions(std::int64_t width, fovea::Rng& rng)
      : table_({.dim = width, .kind = nn::Positions::learned, .max_len = count}, rng) {}
  Tensor operator()(const Tensor& x) const {  // (B, T, C)
    return table_(
        x, fovea::minimum(fovea::arange(x.dim(1)), fovea::full({1}, count - 1, fovea::DType::i64)));
  }
  void visit(nn::Visitor& v) override { table_.visit(v); }

 private:
  nn::PositionalEncoding table_;
};

class PositionalSelfAttention final : public Encoder {
 public:
  PositionalSelfAttention(const ModelOptions& o, fovea::Rng& rng)
      : positions_(o.embed, rng), layer_(o.embed, o, rng) {}

  Ragged operator()(const Ragged& words) const override {
    const std::vector<std::int64_t> lengths = words.index.lengths();
    return fovea::pack(layer_(positions_(fovea::pad(words)), lengths), words.index);
  }
  std::int64_t width() const override { return layer_.attention.options().embed_dim; }
  void visit(nn::Visitor& v) override {
    v("positions", positions_);
    layer_.visit(v);  // without a name prefix
  }

 private:
  LearnedPositions positions_;
  SelfAttention layer_;
};

class TransformerLayers final : public Encoder {
 public:
  TransformerLayers(const ModelOptions& o, fovea::Rng& rng)
      : positions_(o.embed, rng),
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
    const Tensor x = positions_(fovea::pad(words));  // (B, T, C)
    return fovea::pack(layers_(x, Mask::lengths(words.index.lengths())), words.index);
  }
  std::int64_t width() const override { return width_; }
  void visit(nn::Visitor& v) override {
    v("positions", positions_);
    v("encoder", layers_);
  }

 private:
  LearnedPositions positions_;
  nn::TransformerEncoder layers_;
  std::int64_t width_;
};

}  // namespace

SelfAttention::SelfAttention(std::int64_t width, const ModelOptions& o, fovea::Rng& rng)
    : attention({.embed_dim = width, .num_heads = o.heads, .dropout = o.dropout}, rng),
      norm(width),
      drop(o.dropout, rng) {}

Tensor SelfAttention::operator()(const Tensor& x, const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  return norm(x + drop(attention(x, Mask::lengths(lengths))));
}

Ragged SelfAttention::operator()(const Ragged& x) const {
  return fovea::pack((*this)(fovea::pad(x), x.index.lengths()), x.index);
}

void SelfAttention::visit(nn::Visitor& v) {
  v("attention", attention);
  v("norm", norm);
  v("drop", drop);
}

std::unique_ptr<Encoder> make_encoder(const ModelOptions& o, fovea::Rng& rng) {
  const ModelParts parts = parts_of(o.model);
  const bool both = parts.bidirectional;
  switch (parts.base) {
    case Base::bow:
      return std::make_unique<BagOfWords>(o);
    case Base::rnn:
      return std::make_unique<Recurrent<nn::RNN>>(o, both, rng);
    case Base::gru:
      return std::make_unique<Recurrent<nn::GRU>>(o, both, rng);
    case Base::lstm:
      return std::make_unique<Recurrent<nn::LSTM>>(o, both, rng);
    case Base::selfattention:
      return std::make_unique<PositionalSelfAttention>(o, rng);
    case Base::transformer:
      return std::make_unique<TransformerLayers>(o, rng);
  }
  fovea::value_error("make_encoder", "there is no model '{}'", o.model);
}
