#include "sentiment_model.h"

#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/safetensors.h>
#include <fovea/examples/support/checkpoint.h>
#include <fovea/optim/interrupt.h>

#include <cmath>

#include "words.h"
#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
using fovea::Tensor;

namespace {

constexpr const char* kKind = "fovea sentiment 2";
// In version 1 all recurrent models were bidirectional, without "bi" in their name.
constexpr const char* kFirstKind = "fovea sentiment 1";
constexpr std::int64_t min_pair_count = 2;  // a pair seen once says nothing that its words do not

std::string pair_of(const std::string& a, const std::string& b) { return a + ' ' + b; }

std::string metadata_of(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

void check_kind(const fovea::SafetensorsFile& file) {
  const std::string kind = metadata_of(file, "kind");
  if (kind != kKind && kind != kFirstKind)
    fovea::format_error("load", "{}: kind = '{}': must be '{}', a model of sentiment",
                        file.source(), kind, kKind);
  if (file.find("place.counts"))
    fovea::format_error(
        "load", "{}: is a checkpoint for --resume, the model is in the file without '.last'",
        file.source());
}

std::string current_name(const std::string& model, const fovea::SafetensorsFile& file) {
  const bool old = metadata_of(file, "kind") == kFirstKind && parts_of(model).recurrent();
  return old ? "bi" + model : model;
}

// The name of the model, checked together with its pooling.
std::string checked_model(const support::SavedOptions& saved, const fovea::SafetensorsFile& file) {
  const std::string name = saved.text("model");
  try {
    std::string model = current_name(name, file);
    pool_by(model, saved.choice("pooling", {"last", "mean", "max", "attention"}));
    return model;
  } catch (const fovea::ValueError& error) {
    fovea::format_error("load", "{}: options: model = \"{}\": {}", file.source(), name,
                        error.what());
  }
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// A word takes about 1 KiB in a pass. An explanation takes a pass for each word.
constexpr std::size_t kMaxTextBytes = 65'536, kMaxExplainedBytes = 4'096;

void check_length(const std::string& text, std::size_t limit) {
  if (text.size() > limit)
    fovea::value_error("sentiment", "a text of {} bytes: must have at most {}", text.size(), limit);
}

}  // namespace

data::Vocab vocab_of(const Reviews& reviews, const Options& o) {
  data::TokenCounts words, pairs;
  for (const Review& review : reviews) {
    const data::Tokens text = words_of(review.text);
    for (const std::string& word : text) ++words[word];
    if (o.model.bigrams)
      for (std::size_t t = 1; t < text.size(); ++t) ++pairs[pair_of(text[t - 1], text[t])];
  }
  std::erase_if(words, [&](const auto& entry) { return entry.second < o.min_count; });
  for (const auto& [pair, count] : pairs)
    if (count >= min_pair_count) words[pair] = count;
  return data::Vocab(words);
}

SentimentModel::SentimentModel(data::Vocab vocab, const Options& o, fovea::Rng& rng)
    : trained_on_(o.task()),
      vocab_(std::move(vocab)),
      model_(std::make_unique<Classifier>(o.model, vocab_.size(), rng)) {}

std::string SentimentModel::describe() const {
  const ModelOptions& o = model_->options();
  return nlohmann::json{{"model", o.model}, {"pooling", o.pooling}, {"bigrams", o.bigrams},
                        {"embed", o.embed}, {"hidden", o.hidden},   {"layers", o.layers},
                        {"heads", o.heads}, {"dropout", o.dropout}, {"data", trained_on_}}
      .dump();
}

fovea::Metadata SentimentModel::metadata() const {
  return {{"kind", kKind}, {"options", describe()}, {"vocab", vocab_.to_json()}};
}

void SentimentModel::save(const std::filesystem::path& path) const {
  fovea::save(path, model_->state(), metadata());
}

SentimentModel SentimentModel::load(const std::filesystem::path& path, fovea::Rng& rng) {
  namespace ranges = support::ranges;
  const fovea::SafetensorsFile file = support::read_checkpoint(path, "sentiment");
  check_kind(file);
  const support::SavedOptions saved(file, "options");
  const ModelOptions options{.model = checked_model(saved, file),
                             .pooling = saved.text("pooling"),
                             .bigrams = saved.flag("bigrams"),
                             .embed = saved.number<std::int64_t>("embed", ranges::width),
                             .hidden = saved.number<std::int64_t>("hidden", ranges::width),
                             .layers = saved.number<std::int64_t>("layers", ranges::layers),
                             .heads = saved.number<std::int64_t>("heads", ranges::heads),
                             .dropout = saved.number<double>("dropout", ranges::probability)};
  SentimentModel model;
  model.trained_on_ = saved.choice("data", {"reviews", "sst2"});
  model.vocab_ = support::read_vocab(file, "vocab", "embedding.weight");
  const std::int64_t V = model.vocab_.size();
  support::compare_tensors(
      file, [&](fovea::Rng& unused) { return Classifier(options, V, unused).state(); });
  model.model_ = std::make_unique<Classifier>(options, V, rng);
  fovea::load_into(file, model.model_->state(), {.finite = true});
  return model;
}

EncodedText encode(const data::Vocab& vocab, const data::Tokens& words, bool bigrams) {
  EncodedText text{vocab.encode(words), {}};
  if (text.words.empty()) text.words.push_back(data::Vocab::unk);  // a blank line
  if (bigrams)
    for (std::size_t t = 1; t < words.size(); ++t)
      text.pairs.push_back(vocab.id(pair_of(words[t - 1], words[t])));
  return text;
}

EncodedText SentimentModel::encode(const data::Tokens& words) const {
  return ::encode(vocab_, words, model_->options().bigrams);
}

fovea::Ragged SentimentModel::batch(const std::vector<const EncodedText*>& texts) const {
  data::Ids ids, lengths;
  for (const EncodedText* text : texts) {
    const std::size_t before = ids.size();
    ids.insert(ids.end(), text->words.begin(), text->words.end());
    for (const std::int64_t pair : text->pairs)
      if (pair != data::Vocab::unk) ids.push_back(pair);
    lengths.push_back(static_cast<std::int64_t>(ids.size() - before));
  }
  return {fovea::from_data(ids, {std::ssize(ids)}), fovea::RaggedIndex(lengths)};
}

std::vector<double> SentimentModel::log_odds(const std::vector<data::Tokens>& texts) const {
  const fovea::NoGrad guard;
  model_->eval();
  std::vector<EncodedText> encoded;
  std::vector<data::PairLength> lengths;
  for (const data::Tokens& text : texts) {
    encoded.push_back(encode(text));
    lengths.push_back({.target = std::ssize(encoded.back().words)});
  }
  std::vector<double> odds(texts.size());
  for (const data::Ids& rows : data::sorted_batches(lengths, 64)) {
    fovea::optim::check_interrupt();
    std::vector<const EncodedText*> here;
    for (const std::int64_t row : rows) here.push_back(&encoded[static_cast<std::size_t>(row)]);
    const std::vector<double> logits = (*model_)(batch(here)).to_vector<double>();  // (B, 2)
    for (std::size_t i = 0; i < rows.size(); ++i)
      odds[static_cast<std::size_t>(rows[i])] = logits[2 * i + 1] - logits[2 * i];
  }
  return odds;
}

std::vector<double> SentimentModel::positive(const std::vector<std::string>& lines) const {
  std::vector<data::Tokens> texts;
  for (const std::string& line : lines) {
    check_length(line, kMaxTextBytes);
    texts.push_back(words_of(line));
  }
  std::vector<double> probabilities;
  for (const double odds : log_odds(texts)) probabilities.push_back(sigmoid(odds));
  return probabilities;
}

Explanation SentimentModel::explain(const std::string& line) const {
  check_length(line, kMaxExplainedBytes);
  Explanation explanation;
  explanation.words = words_of(line);
  std::vector<data::Tokens> texts{explanation.words};
  for (std::size_t t = 0; t < explanation.words.size(); ++t) {
    texts.push_back(explanation.words);
    texts.back().erase(texts.back().begin() + static_cast<std::ptrdiff_t>(t));
  }
  const std::vector<double> odds = log_odds(texts);
  explanation.positive = sigmoid(odds[0]);
  for (std::size_t t = 1; t < odds.size(); ++t) explanation.evidence.push_back(odds[0] - odds[t]);
  if (model_->pooling.attends() && !explanation.words.empty()) {
    const fovea::NoGrad guard;
    const EncodedText text = encode(explanation.words);
    Tensor weights;
    (*model_)(batch({&text}), &weights);
    explanation.pooling_weights = weights.to_vector<double>();
  }
  return explanation;
}
