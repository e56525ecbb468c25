// A model with its vocabularies: the contents of a file for --load.
#pragma once

#include "model.h"
#include "tokenizer.h"

struct Translation {
  std::string text;
  double score = 0;
};

/// Attention weights of a translation: one row per target token, <eos> last.
struct Alignment {
  std::vector<std::string> source, target;
  std::vector<double> weights;  // (target, source) row-major; empty without attention
};

struct SearchOptions {
  std::int64_t beam = 1;
  double length_penalty = 1.0;
  std::int64_t n_best = 1;
  std::int64_t max_length = 1000;  // of a source line and of its translation
  bool replace_unknown = true;     // <unk> becomes the source word of largest weight
};

class Translator {
 public:
  /// A new model for these vocabularies.
  Translator(Tokenizer tokenizer, const Options& options, fovea::Rng& rng);
  /// Reads a file written by save(). FormatError, StateError for other files.
  static Translator load(const std::filesystem::path& path, fovea::Rng& rng);
  /// Adds a model to the ensemble: probabilities and attention weights are averaged over the
  /// models. ValueError unless its languages and vocabularies are the same.
  void add(const std::filesystem::path& path, fovea::Rng& rng);
  void save(const std::filesystem::path& path) const;
  /// Metadata that load() needs in addition to the model's tensors.
  fovea::Metadata metadata() const;

  const Tokenizer& tokenizer() const { return tokenizer_; }

  /// The mean loss over the target tokens of a batch, without padding.
  fovea::Tensor loss(const fovea::nn::data::TranslationBatch& batch, double smoothing) const;
  /// The same plus the coverage loss and the guided-alignment loss of the model's options. links:
  /// (B, T, S), or undefined.
  fovea::Tensor training_loss(const fovea::nn::data::TranslationBatch& batch, double smoothing,
                              const fovea::Tensor& links) const;

  /// The best translations of every line, best first: at least one, an empty one for a blank line.
  /// They do not depend on the other lines. A translation has at most 2 S + 12 tokens, where
  /// S <= max_length is the number of source tokens, and at most max_length. `shortened` lists the
  /// indices of lines with more than max_length tokens, whose rest is ignored.
  std::vector<std::vector<Translation>> translate(
      const std::vector<std::string>& lines, const SearchOptions& options,
      std::vector<std::size_t>* shortened = nullptr) const;

  /// The batches of a search: up to `search_batch` sources of equal length, so that there is no
  /// padding.
  static constexpr std::int64_t search_batch = 64;
  static std::vector<fovea::nn::data::Ids> search_batches(const std::vector<std::int64_t>& lengths,
                                                          std::int64_t beam);

  /// Forced decoding of each target; returns the attention weights of its tokens. At most
  /// max_length tokens of each line are used.
  std::vector<Alignment> align(const std::vector<std::string>& sources,
                               const std::vector<std::string>& targets,
                               std::int64_t max_length) const;

  /// Forced decoding of `target`; returns the weights of every attention layer.
  fovea::nn::inspect::ReportSentence explain(const std::string& source, const std::string& target,
                                             std::int64_t max_length) const;

  void eval() const;  // every model
  Model& model() const { return *models_[0]; }
  std::size_t model_count() const { return models_.size(); }
  bool attends() const;                  // at least one of the models
  std::int64_t parameter_count() const;  // of all models
  const Task& task() const { return task_; }

 private:
  Translator(Task task, Tokenizer tokenizer, std::unique_ptr<Model> model);
  std::vector<std::vector<fovea::nn::Hypothesis>> search(
      const std::vector<fovea::nn::data::Ids>& sources, const fovea::nn::data::Ids& rows,
      const SearchOptions& options) const;
  fovea::Tensor forced_weights(const fovea::nn::data::TranslationBatch& batch) const;
  std::vector<Alignment> align_ids(const std::vector<fovea::nn::data::Tokens>& sources,
                                   const std::vector<fovea::nn::data::Ids>& targets) const;
  std::string spell(const std::vector<std::string>& source, const fovea::nn::data::Ids& target,
                    bool replace_unknown) const;
  std::string describe() const;

  Task task_;
  Tokenizer tokenizer_;
  std::vector<std::unique_ptr<Model>> models_;
};
