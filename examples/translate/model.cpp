#include "model.h"

#include <fovea/core/error.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/nn/transformer.h>

#include <type_traits>

#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace nn = fovea::nn;
using fovea::Tensor;
using nn::inspect::AttentionKind;

namespace {

std::vector<AttentionLayers> layers_of(const nn::Seq2Seq& net) {
  if (!net.attention) return {};
  return {{"attention", net.options().attention, AttentionKind::cross, "target", "source"}};
}

std::vector<AttentionLayers> layers_of(const nn::Transformer&) {
  const std::string name = "scaled dot-product";
  return {
      {"decoder.layers.*.multihead_attn", name, AttentionKind::cross, "target", "source"},
      {"encoder.layers.*.self_attn", name, AttentionKind::self, "source", "source"},
      {"decoder.layers.*.self_attn", name, AttentionKind::self, "target so far", "target so far"}};
}

// Both nets have encode, decode, initial_state and step: what differs is how they are made.
template <class Net>
class ModelOf final : public Model {
 public:
  template <class NetOptions>
  ModelOf(const ModelOptions& options, const NetOptions& net, fovea::Rng& rng)
      : Model(options), net_(net, rng) {}

  nn::Module& module() override { return net_; }

  Tensor logits(const data::TranslationBatch& batch, Tensor* weights) const override {
    const auto memory = net_.encode(batch.source.tensor(), batch.source.lengths);
    const Tensor inputs = batch.target_input.tensor();
    if constexpr (std::is_same_v<Net, nn::Seq2Seq>)
      return net_.decode(memory, inputs, batch.target_input.lengths, weights);
    else
      return net_.decode(memory, inputs, batch.target_input.lengths);
  }

  Start start(const data::PaddedBatch& sources) const override {
    const auto memory = net_.encode(sources.tensor(), sources.lengths);
    return {[this, memory](const Tensor& ids, std::vector<Tensor>& state, Tensor* weights) {
              return net_.step(memory, ids, state, weights);
            },
            net_.initial_state(memory)};
  }

  std::vector<AttentionLayers> attention_layers() const override { return layers_of(net_); }

 private:
  Net net_;
};

std::unique_ptr<Model> make_rnn(const ModelOptions& o, fovea::Rng& rng) {
  return std::make_unique<ModelOf<nn::Seq2Seq>>(o,
                                                nn::Seq2SeqOptions{.source_vocab = o.source_vocab,
                                                                   .target_vocab = o.target_vocab,
                                                                   .embed_dim = o.embed,
                                                                   .hidden_size = o.hidden,
                                                                   .attention = o.attention,
                                                                   .weights = o.weights,
                                                                   .heads = o.heads,
                                                                   .coverage = o.coverage,
                                                                   .input_feeding = o.input_feeding,
                                                                   .dropout = o.dropout,
                                                                   .recompute = o.recompute},
                                                rng);
}

std::unique_ptr<Model> make_transformer(const ModelOptions& o, fovea::Rng& rng) {
  const auto tied = o.joint ? nn::TiedEmbeddings::all : nn::TiedEmbeddings::target;
  return std::make_unique<ModelOf<nn::Transformer>>(
      o,
      nn::TransformerOptions{.source_vocab = o.source_vocab,
                             .target_vocab = o.target_vocab,
                             .d_model = o.embed,
                             .nhead = o.heads,
                             .dim_feedforward = o.ffn,
                             .num_encoder_layers = o.layers,
                             .num_decoder_layers = o.layers,
                             .dropout = o.dropout,
                             .attention_dropout = o.attention_dropout,
                             .tied = tied},
      rng);
}

}  // namespace

std::unique_ptr<Model> Model::make(const ModelOptions& options, fovea::Rng& rng) {
  if (options.kind == "rnn") return make_rnn(options, rng);
  if (options.kind == "transformer") return make_transformer(options, rng);
  fovea::value_error("model", "'{}' is neither rnn nor transformer", options.kind);
}

nlohmann::json to_json(const ModelOptions& o) {
  nlohmann::json json{
      {"model", o.kind}, {"joint_vocab", o.joint}, {"embed_dim", o.embed}, {"dropout", o.dropout}};
  if (o.kind == "rnn") {
    json.update({{"hidden_size", o.hidden}, {"attention", o.attention}, {"weights", o.weights}});
    // What older files do not say is written only where it is asked for: they can be resumed.
    if (o.attention == "multihead") json["heads"] = o.heads;
    if (o.coverage) json["coverage"] = true;
    if (o.input_feeding) json["input_feeding"] = true;
    if (o.coverage_loss > 0) json["coverage_loss"] = o.coverage_loss;
    if (o.guided_weight > 0) json["guided_weight"] = o.guided_weight;
  } else {
    json.update({{"layers", o.layers},
                 {"heads", o.heads},
                 {"ffn", o.ffn},
                 {"attention_dropout", o.attention_dropout}});
  }
  return json;
}

ModelOptions model_options_from(const nlohmann::json& json) {
  ModelOptions o;
  o.kind = json.value("model", "rnn");
  o.joint = json.value("joint_vocab", false);
  o.embed = json.at("embed_dim");
  o.dropout = json.at("dropout");
  if (o.kind == "rnn") {
    o.hidden = json.at("hidden_size");
    const nlohmann::json& attention = json.at("attention");
    o.attention = !attention.is_boolean() ? attention.get<std::string>()
                  : attention.get<bool>() ? "additive"
                                          : "none";
    o.weights = json.value("weights", "softmax");
    if (o.attention == "multihead") o.heads = json.at("heads");
    o.coverage = json.value("coverage", false);
    o.input_feeding = json.value("input_feeding", false);
    o.coverage_loss = json.value("coverage_loss", 0.0);
    o.guided_weight = json.value("guided_weight", 0.0);
  } else {
    o.layers = json.at("layers");
    o.heads = json.at("heads");
    o.ffn = json.at("ffn");
    o.attention_dropout = json.at("attention_dropout");
  }
  return o;
}
