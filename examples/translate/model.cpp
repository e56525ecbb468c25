#include "model.h"

#include <fovea/core/error.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/attention/weights.h>
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

// The encoder memory of the sentences `chosen`, in this order.
nn::Seq2SeqMemory pick(const nn::Seq2SeqMemory& all, const data::Ids& lengths,
                       const data::Ids& chosen) {
  const Tensor rows = fovea::from_data(chosen, {std::ssize(chosen)});
  const auto some = [&](const Tensor& x) {
    return x.defined() ? fovea::index_select(x, 0, rows) : Tensor();
  };
  nn::Seq2SeqMemory picked;
  picked.initial = some(all.initial);
  picked.keys = some(all.keys);
  picked.values = some(all.values);
  if (all.keys.defined()) picked.mask = fovea::Mask::lengths(lengths);
  return picked;
}

nn::TransformerMemory pick(const nn::TransformerMemory& all, const data::Ids& lengths,
                           const data::Ids& chosen) {
  const fovea::RaggedIndex& index = all.layers[0].index;
  data::Ids words;
  for (const std::int64_t b : chosen)
    for (std::int64_t row = index.offset(b); row < index.offset(b + 1); ++row) words.push_back(row);
  const Tensor rows = fovea::from_data(words, {std::ssize(words)});
  nn::TransformerMemory picked;
  for (const nn::RaggedKeyValue& layer : all.layers)
    picked.layers.push_back({fovea::index_select(layer.k, 0, rows),
                             fovea::index_select(layer.v, 0, rows), fovea::RaggedIndex(lengths)});
  return picked;
}

// Both nets have encode, decode, initial_state and step, but different options.
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
    const auto memory = std::make_shared<Memory>(
        Memory{net_.encode(sources.tensor(), sources.lengths), sources.lengths});
    return {[this, memory](const Tensor& ids, std::vector<Tensor>& state, Tensor* weights) {
              return net_.step(memory->of_source, ids, state, weights);
            },
            net_.initial_state(memory->of_source),
            [memory](const std::vector<std::int64_t>& sentences) {
              data::Ids left;
              for (const std::int64_t b : sentences)
                left.push_back(memory->lengths[static_cast<std::size_t>(b)]);
              memory->of_source = pick(memory->of_source, left, sentences);
              memory->lengths = std::move(left);
            }};
  }

  std::vector<AttentionLayers> attention_layers() const override { return layers_of(net_); }

 private:
  // Encoder output of the sentences whose search is not finished.
  struct Memory {
    std::invoke_result_t<decltype(&Net::encode), const Net&, const Tensor&, const data::Ids&>
        of_source;
    data::Ids lengths;
  };

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
    // Newer options are written only if used, so that older checkpoints can be resumed.
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

ModelOptions model_options_from(const support::SavedOptions& saved) {
  namespace ranges = support::ranges;
  const auto flag = [&](const char* key) { return saved.has(key) && saved.flag(key); };
  const auto weight = [&](const char* key) {
    return saved.has(key) ? saved.number<double>(key, ranges::weight) : 0.0;
  };
  ModelOptions o;
  if (saved.has("model")) o.kind = saved.choice("model", {"rnn", "transformer"});
  o.joint = flag("joint_vocab");
  o.embed = saved.number<std::int64_t>("embed_dim", ranges::width);
  o.dropout = saved.number<double>("dropout", ranges::probability);
  if (o.kind == "rnn") {
    o.hidden = saved.number<std::int64_t>("hidden_size", ranges::width);
    if (saved.has("attention") && saved.is_flag("attention")) {
      o.attention = saved.flag("attention") ? "additive" : "none";
    } else {
      o.attention = saved.choice("attention", nn::attention_names());
    }
    if (saved.has("weights")) o.weights = saved.choice("weights", nn::normalizer_names());
    if (o.attention == "multihead") o.heads = saved.number<std::int64_t>("heads", ranges::heads);
    o.coverage = flag("coverage");
    o.input_feeding = flag("input_feeding");
    o.coverage_loss = weight("coverage_loss");
    o.guided_weight = weight("guided_weight");
  } else {
    o.layers = saved.number<std::int64_t>("layers", ranges::layers);
    o.heads = saved.number<std::int64_t>("heads", ranges::heads);
    o.ffn = saved.number<std::int64_t>("ffn", ranges::width);
    o.attention_dropout = saved.number<double>("attention_dropout", ranges::probability);
  }
  return o;
}
