// Interface of the two kinds of model for Translator.
#pragma once

#include <fovea/examples/support/checkpoint.h>
#include <fovea/nn/data/batching.h>
#include <fovea/nn/decode.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

/// Options of both kinds of model; options of the other kind are not used.
struct ModelOptions {
  std::string kind = "rnn";  // or transformer
  std::int64_t source_vocab = 0, target_vocab = 0;
  bool joint = false;      // one vocabulary for both languages
  std::int64_t embed = 0;  // embedding width; Transformer: model width
  double dropout = 0;
  // rnn
  std::int64_t hidden = 0;
  std::string attention = "additive";
  std::string weights = "softmax";
  bool coverage = false, input_feeding = false;
  double coverage_loss = 0, guided_weight = 0;  // weights of loss terms for attention
  bool recompute = false;                       // for training only, not in checkpoints
  // transformer
  std::int64_t layers = 0;  // of the encoder, and of the decoder
  std::int64_t heads = 0;   // also of the rnn's multihead attention
  std::int64_t ffn = 0;
  double attention_dropout = 0;
};

nlohmann::json to_json(const ModelOptions& options);
/// FormatError for options that Model::make() does not accept. Also reads the format
/// "fovea translate 1", which has only recurrent models.
ModelOptions model_options_from(const support::SavedOptions& saved);

/// Attention layers of one kind, for the report.
struct AttentionLayers {
  std::string pattern;  // of AttentionProbe
  std::string mechanism;
  fovea::nn::inspect::AttentionKind kind;
  std::string queries, keys;  // "source", "target" (output) or "target so far" (input)
};

class Model {
 public:
  virtual ~Model() = default;

  /// "rnn" makes nn::Seq2Seq, "transformer" nn::Transformer. `rng` must outlive the model.
  static std::unique_ptr<Model> make(const ModelOptions& options, fovea::Rng& rng);

  virtual fovea::nn::Module& module() = 0;

  /// Teacher forcing: the logits of all target positions except padding.  (sum of lengths, V),
  /// packed weights: if given, the attention weights of an rnn's steps, (B, T, S); unchanged by a
  /// Transformer.
  virtual fovea::Tensor logits(const fovea::nn::data::TranslationBatch& batch,
                               fovea::Tensor* weights = nullptr) const = 0;

  /// The initial state of a beam search. The step also returns its attention weights if `weights`
  /// is not null: (B, K, S). `keep` is as in DecodeStart.
  struct Start {
    std::function<fovea::Tensor(const fovea::Tensor& ids, std::vector<fovea::Tensor>& state,
                                fovea::Tensor* weights)>
        step;
    std::vector<fovea::Tensor> state;
    std::function<void(const std::vector<std::int64_t>& sentences)> keep;
  };
  virtual Start start(const fovea::nn::data::PaddedBatch& sources) const = 0;

  virtual std::vector<AttentionLayers> attention_layers() const = 0;
  bool attends() const { return !attention_layers().empty(); }

  const ModelOptions& options() const { return options_; }

 protected:
  explicit Model(ModelOptions options) : options_(std::move(options)) {}

 private:
  ModelOptions options_;
};
