#include "tokenizer.h"

#include <fovea/core/error.h>
#include <fovea/examples/support/checkpoint.h>

namespace data = fovea::nn::data;

namespace {

std::optional<data::SubwordNmtBpe> bpe_of(const Corpus& corpus, const Options& o) {
  if (!o.bpe.empty()) return data::SubwordNmtBpe::read(o.bpe);
  if (o.bpe_merges == 0) return {};
  const std::vector<data::Lines> texts = {corpus.train.source, corpus.train.target};
  data::SubwordNmtBpe learned = data::SubwordNmtBpe::learn(texts, o.bpe_merges);
  if (learned.merges().empty())
    fovea::value_error("bpe", "no pair of adjacent characters occurs twice in the training text");
  return learned;
}

}  // namespace

Tokenizer::Tokenizer(const Corpus& corpus, const Options& o)
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

void Tokenizer::write(fovea::Metadata& metadata) const {
  metadata["source_vocab"] = source_.to_json();
  if (joint()) {
    metadata["bpe"] = bpe_->str();
  } else {
    metadata["target_vocab"] = target_.to_json();
  }
}

Tokenizer::Tokenizer(const fovea::SafetensorsFile& file, data::Unit unit) : unit_(unit) {
  source_ = support::read_vocab(file, "source_vocab", "source_embedding.weight");
  if (file.metadata().contains("bpe")) {
    bpe_ = data::SubwordNmtBpe::parse(support::metadata_text(file, "bpe"),
                                      file.source() + ": its BPE");
    target_ = source_;
  } else {
    target_ = support::read_vocab(file, "target_vocab", "target_embedding.weight");
  }
}

bool Tokenizer::operator==(const Tokenizer& other) const {
  fovea::Metadata mine, theirs;
  write(mine);
  other.write(theirs);
  return unit_ == other.unit_ && mine == theirs;
}

data::Ids Tokenizer::encode_source(const std::string& line) const {
  return source_.encode(cut(line));
}

data::Ids Tokenizer::encode_target(const std::string& line) const {
  return target_.encode(cut(line));
}

data::Tokens Tokenizer::cut(const std::string& line) const {
  return bpe_ ? bpe_->encode(line) : data::tokenize(line, unit_);
}

std::string Tokenizer::join(const data::Tokens& tokens) const {
  return bpe_ ? data::SubwordNmtBpe::join(tokens) : data::detokenize(tokens, unit_);
}
