// From lines to ids and back: tokenization and vocabularies.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/vocab.h>

#include <optional>

#include "corpus.h"

/// Splits lines into characters, words, or subwords (BPE). With BPE both languages share the merges
/// and one vocabulary.
class Tokenizer {
 public:
  /// Learns the merges (unless given) and the vocabularies from the training text.
  Tokenizer(const Corpus& corpus, const Options& options);

  /// Saves to and loads from a checkpoint's metadata. FormatError names the file and the error.
  void write(fovea::Metadata& metadata) const;
  Tokenizer(const fovea::SafetensorsFile& file, fovea::nn::data::Unit unit);

  fovea::nn::data::Ids encode_source(const std::string& line) const;
  fovea::nn::data::Ids encode_target(const std::string& line) const;
  fovea::nn::data::Tokens cut(const std::string& line) const;
  std::string join(const fovea::nn::data::Tokens& tokens) const;

  const fovea::nn::data::Vocab& source() const { return source_; }
  const fovea::nn::data::Vocab& target() const { return target_; }
  fovea::nn::data::Unit unit() const { return unit_; }
  bool joint() const { return bpe_.has_value(); }
  /// Whether both have the same tokenization and the same token ids.
  bool operator==(const Tokenizer& other) const;

 private:
  fovea::nn::data::Unit unit_;
  std::optional<fovea::nn::data::SubwordNmtBpe> bpe_;
  fovea::nn::data::Vocab source_, target_;
};
