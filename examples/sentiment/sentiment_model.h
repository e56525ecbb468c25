// A classifier with its vocabulary: the contents of a file for --load.
#pragma once

#include <fovea/nn/data/batching.h>
#include <fovea/nn/data/vocab.h>

#include "classifier.h"
#include "corpus.h"

/// A sentence as ids: its words, and its bigrams if the model uses them.
struct EncodedText {
  fovea::nn::data::Ids words;
  fovea::nn::data::Ids pairs;  // one fewer than words; <unk> for bigrams not in the vocabulary
};

/// A prediction with the contribution of each word.
struct Explanation {
  fovea::nn::data::Tokens words;
  double positive = 0;                  // probability
  std::vector<double> evidence;         // per word, see SentimentModel::explain
  std::vector<double> pooling_weights;  // per word; empty without attention
};

/// The vocabulary of a training text.
fovea::nn::data::Vocab vocab_of(const Reviews& reviews, const Options& options);

/// A blank line becomes one <unk>. bigrams: include bigrams.
EncodedText encode(const fovea::nn::data::Vocab& vocab, const fovea::nn::data::Tokens& words,
                   bool bigrams);

class SentimentModel {
 public:
  /// A new model for this vocabulary.
  SentimentModel(fovea::nn::data::Vocab vocab, const Options& options, fovea::Rng& rng);
  /// Reads a file written by save(). FormatError, StateError for other files.
  static SentimentModel load(const std::filesystem::path& path, fovea::Rng& rng);
  void save(const std::filesystem::path& path) const;
  /// Metadata that load() needs in addition to the model's tensors.
  fovea::Metadata metadata() const;

  EncodedText encode(const fovea::nn::data::Tokens& words) const;
  /// Input of the classifier: words, then the bigrams in the vocabulary.
  fovea::Ragged batch(const std::vector<const EncodedText*>& texts) const;

  /// The probability that a line is positive, for each line.
  std::vector<double> positive(const std::vector<std::string>& lines) const;

  /// evidence_t = logit(sentence) - logit(sentence without word t), logit = log(p / (1 - p)): above
  /// 0, the word contributes to "positive". Li, Monroe and Jurafsky 2016, Understanding Neural
  /// Networks through Representation Erasure, section 3: the same difference, there for the model's
  /// score of the correct label.
  Explanation explain(const std::string& line) const;

  Classifier& model() const { return *model_; }
  const std::string& trained_on() const { return trained_on_; }  ///< "reviews" or "sst2"

 private:
  SentimentModel() = default;
  std::vector<double> log_odds(const std::vector<fovea::nn::data::Tokens>& texts) const;
  std::string describe() const;

  std::string trained_on_;
  fovea::nn::data::Vocab vocab_;
  std::unique_ptr<Classifier> model_;
};
