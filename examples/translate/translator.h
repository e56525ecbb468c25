// A model with its vocabularies: everything that --load needs, in one file.
#pragma once

#include "model.h"
#include "speller.h"

struct Translation {
  std::string text;
  double score = 0;
};

/// Where a translation looked: one row a target token, <eos> last.
struct Alignment {
  std::vector<std::string> source, target;
  std::vector<double> weights;  // (target, source) row-major; empty without attention
};

struct SearchOptions {
  std::int64_t beam = 1;
  double length_penalty = 1.0;
  std::int64_t n_best = 1;
  std::int64_t max_length = 1000;  // tokens that are read of a line, and of its translation
  bool replace_unknown = true;     // <unk> becomes the source word of the largest weight
};

class Translator {
 public:
  /// A fresh model for these vocabularies.
  Translator(Speller speller, const Options& options, fovea::Rng& rng);
  /// Reads what save() wrote. FormatError, StateError where the file is something else.
  static Translator load(const std::filesystem::path& path, fovea::Rng& rng);
  /// Loads one more model, to be asked together with those that are here: their probabilities, and
  /// where they look, are averaged. ValueError unless its languages and vocabularies are the same.
  void add(const std::filesystem::path& path, fovea::Rng& rng);
  void save(const std::filesystem::path& path) const;
  /// What makes a checkpoint of the model's tensors one that load() can read.
  fovea::Metadata metadata() const;

  const Speller& speller() const { return speller_; }

  /// The mean loss over the real target tokens of a batch.
  fovea::Tensor loss(const fovea::nn::data::TranslationBatch& batch, double smoothing) const;
  /// The same with what the model's options teach about looking. links: (B, T, S), or undefined.
  fovea::Tensor training_loss(const fovea::nn::data::TranslationBatch& batch, double smoothing,
                              const fovea::Tensor& links) const;

  /// For every line, in the lines' order, its best translations, best first: at least one, and an
  /// empty one for a blank line. What they are follows from the line alone: a translation has at
  /// most 2 S + 12 tokens, where S <= max_length are read, and at most max_length. `shortened`
  /// lists the indices of lines whose end was not read.
  std::vector<std::vector<Translation>> translate(
      const std::vector<std::string>& lines, const SearchOptions& options,
      std::vector<std::size_t>* shortened = nullptr) const;

  /// Which sources are searched at once: up to `search_batch` of one length, so that there is no
  /// padding, and no short line waits for a long one.
  static constexpr std::int64_t search_batch = 64;
  static std::vector<fovea::nn::data::Ids> search_batches(const std::vector<std::int64_t>& lengths,
                                                          std::int64_t beam);

  /// Forces each target and reports where each of its tokens looked. Of each line max_length tokens
  /// are read.
  std::vector<Alignment> align(const std::vector<std::string>& sources,
                               const std::vector<std::string>& targets,
                               std::int64_t max_length) const;

  /// Forces `target`, and all that every attention layer did then.
  fovea::nn::inspect::ReportSentence explain(const std::string& source, const std::string& target,
                                             std::int64_t max_length) const;

  void eval() const;  // every model
  Model& model() const { return *models_[0]; }
  std::size_t model_count() const { return models_.size(); }
  bool attends() const;                  // one of the models at least
  std::int64_t parameter_count() const;  // of all models
  const Task& task() const { return task_; }

 private:
  Translator(Task task, Speller speller, std::unique_ptr<Model> model);
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
  Speller speller_;
  std::vector<std::unique_ptr<Model>> models_;
};
