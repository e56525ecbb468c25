#include "speller.h"

#include <fovea/core/error.h>

namespace data = fovea::nn::data;

namespace {

std::string value_of(const fovea::Metadata& metadata, const char* key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : found->second;
}

std::optional<data::Bpe> bpe_of(const Corpus& corpus, const Options& o) {
  if (!o.bpe.empty()) return data::Bpe::read(o.bpe);
  if (o.bpe_merges == 0) return {};
  const std::vector<data::Lines> texts = {corpus.train.source, corpus.train.target};
  data::Bpe learned = data::Bpe::learn(texts, o.bpe_merges);
  if (learned.merges().empty())
    fovea::value_error("bpe", "no two characters stand together twice in the training text");
  return learned;
}

}  // namespace

Speller::Speller(const Corpus& corpus, const Options& o)
    : unit_(corpus.unit), bpe_(bpe_of(corpus, o)) {
  data::TokenCounts source, target;
  data::TokenCounts& second = joint() ? source : target;
  const auto count = [&](const data::Lines& lines, data::TokenCounts& counts) {
    for (const std::string& line : lines)
      for (std::string& token : cut(line)) ++counts[std::move(token)];
  };
  count(corpus.train.source, source);
  count(corpus.train.target, second);
  const data::VocabOptions bounds{.min_count = o.min_count, .max_size = o.max_vocab};
  source_ = data::Vocab(source, bounds);
  target_ = data::Vocab(second, bounds);
}

void Speller::write(fovea::Metadata& metadata) const {
  metadata["source_vocab"] = source_.to_json();
  if (joint()) {
    metadata["bpe"] = bpe_->str();
  } else {
    metadata["target_vocab"] = target_.to_json();
  }
}

Speller::Speller(const fovea::Metadata& metadata, data::Unit unit) : unit_(unit) {
  source_ = data::Vocab::from_json(value_of(metadata, "source_vocab"));
  if (metadata.contains("bpe")) {
    bpe_ = data::Bpe::parse(value_of(metadata, "bpe"), "the model's BPE");
    target_ = source_;
  } else {
    target_ = data::Vocab::from_json(value_of(metadata, "target_vocab"));
  }
}

bool Speller::operator==(const Speller& other) const {
  fovea::Metadata mine, theirs;
  write(mine);
  other.write(theirs);
  return unit_ == other.unit_ && mine == theirs;
}

data::Ids Speller::encode_source(const std::string& line) const {
  return source_.encode(cut(line));
}

data::Ids Speller::encode_target(const std::string& line) const {
  return target_.encode(cut(line));
}

data::Tokens Speller::cut(const std::string& line) const {
  return bpe_ ? bpe_->encode(line) : data::tokenize(line, unit_);
}

std::string Speller::join(const data::Tokens& tokens) const {
  return bpe_ ? data::Bpe::join(tokens) : data::detokenize(tokens, unit_);
}
