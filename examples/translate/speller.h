// From lines to ids and back: what a line is cut into, and the vocabularies.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/vocab.h>

#include <optional>

#include "corpus.h"

/// Lines as characters, as words, or as pieces of words (BPE). Pieces are shared: then both
/// languages have one vocabulary.
class Speller {
 public:
  /// Learns the merges, if it has to, and the vocabularies from the training text.
  Speller(const Corpus& corpus, const Options& options);

  /// What a checkpoint keeps of it, and back. FormatError names the file and what of it is wrong.
  void write(fovea::Metadata& metadata) const;
  Speller(const fovea::SafetensorsFile& file, fovea::nn::data::Unit unit);

  fovea::nn::data::Ids encode_source(const std::string& line) const;
  fovea::nn::data::Ids encode_target(const std::string& line) const;
  fovea::nn::data::Tokens cut(const std::string& line) const;
  std::string join(const fovea::nn::data::Tokens& tokens) const;

  const fovea::nn::data::Vocab& source() const { return source_; }
  const fovea::nn::data::Vocab& target() const { return target_; }
  fovea::nn::data::Unit unit() const { return unit_; }
  bool joint() const { return bpe_.has_value(); }
  /// Do both cut lines alike, and give every token the same number?
  bool operator==(const Speller& other) const;

 private:
  fovea::nn::data::Unit unit_;
  std::optional<fovea::nn::data::Bpe> bpe_;
  fovea::nn::data::Vocab source_, target_;
};
