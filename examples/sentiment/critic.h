// A net with its vocabulary: everything that --load needs, in one file.
#pragma once

#include <fovea/nn/data/batching.h>
#include <fovea/nn/data/vocab.h>

#include "classifier.h"
#include "corpus.h"

/// A sentence as ids: its words, and the pairs of neighbours if the model knows pairs.
struct EncodedText {
  fovea::nn::data::Ids words;
  fovea::nn::data::Ids pairs;  // one fewer than words; <unk> where the vocabulary lacks the pair
};

/// Why a sentence was judged as it was.
struct Judgement {
  fovea::nn::data::Tokens words;
  double positive = 0;           // probability
  std::vector<double> evidence;  // by word, see Critic::judge
  std::vector<double> looked;    // by word: the pooling's weights; empty without attention
};

/// The vocabulary of a training text.
fovea::nn::data::Vocab vocab_of(const Reviews& reviews, const Options& options);

/// A blank line becomes one <unk>. bigrams: pairs too.
EncodedText encode(const fovea::nn::data::Vocab& vocab, const fovea::nn::data::Tokens& words,
                   bool bigrams);

class Critic {
 public:
  /// A fresh model for this vocabulary.
  Critic(fovea::nn::data::Vocab vocab, const Options& options, fovea::Rng& rng);
  /// Reads what save() wrote. FormatError, StateError where the file is something else.
  static Critic load(const std::filesystem::path& path, fovea::Rng& rng);
  void save(const std::filesystem::path& path) const;
  /// What makes a checkpoint of the model's tensors one that load() can read.
  fovea::Metadata metadata() const;

  EncodedText encode(const fovea::nn::data::Tokens& words) const;
  /// What the classifier reads: words, and then the pairs that the vocabulary has.
  fovea::Ragged batch(const std::vector<const EncodedText*>& texts) const;

  /// The probability that a line praises, line by line.
  std::vector<double> positive(const std::vector<std::string>& lines) const;

  /// evidence_t = logit(sentence) - logit(sentence without word t), logit = log(p / (1 - p)): above
  /// 0 the word speaks for praise. Li, Monroe and Jurafsky 2016, Understanding Neural Networks
  /// through Representation Erasure, section 3: the same difference, there by the model's score of
  /// the right label.
  Judgement judge(const std::string& line) const;

  Classifier& model() const { return *model_; }
  const std::string& trained_on() const { return trained_on_; }  ///< "reviews" or "sst2"

 private:
  Critic() = default;
  std::vector<double> log_odds(const std::vector<fovea::nn::data::Tokens>& texts) const;
  std::string describe() const;

  std::string trained_on_;
  fovea::nn::data::Vocab vocab_;
  std::unique_ptr<Classifier> model_;
};
