#include "translator.h"

#include <fovea/core/autograd.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/safetensors.h>

#include <algorithm>

#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace nn = fovea::nn;
using fovea::Tensor;

namespace {

constexpr const char* kKind = "fovea translate 1";

data::Vocab vocab_of(const std::vector<std::string>& lines, data::Unit unit, const Options& o) {
  data::TokenCounts counts;
  data::count_tokens(lines, unit, counts);
  const std::int64_t min_count = unit == data::Unit::words ? o.min_count : 1;
  return data::Vocab(counts, {.min_count = min_count, .max_size = o.max_vocab});
}

bool is_blank(const std::string& line) { return data::tokenize(line, data::Unit::words).empty(); }

std::string metadata_of(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

void check_kind(const fovea::SafetensorsFile& file) {
  const std::string kind = metadata_of(file, "kind");
  if (kind != kKind)
    fovea::format_error("load", "{} was not written by translate: its kind is '{}', not '{}'",
                        file.source(), kind, kKind);
  if (file.find("place.counts"))
    fovea::format_error("load", "{} is for --resume: the model is in the file without '.last'",
                        file.source());
}

}  // namespace

Translator::Translator(const Corpus& corpus, const Options& o, fovea::Rng& rng)
    : task_(o.task),
      unit_(corpus.unit),
      source_vocab_(vocab_of(corpus.train.source, corpus.unit, o)),
      target_vocab_(vocab_of(corpus.train.target, corpus.unit, o)),
      model_(
          std::make_unique<nn::Seq2Seq>(nn::Seq2SeqOptions{.source_vocab = source_vocab_.size(),
                                                           .target_vocab = target_vocab_.size(),
                                                           .embed_dim = o.embed,
                                                           .hidden_size = o.hidden,
                                                           .attention = o.attention == "additive",
                                                           .dropout = o.dropout},
                                        rng)) {
  model_->name_tree("translate");
}

std::string Translator::describe() const {
  const nn::Seq2SeqOptions& o = model_->options();
  return nlohmann::json{
      {"embed_dim", o.embed_dim}, {"hidden_size", o.hidden_size},   {"attention", o.attention},
      {"dropout", o.dropout},     {"unit", data::unit_name(unit_)}, {"dates", task_.dates},
      {"source", task_.source},   {"target", task_.target},         {"seed", task_.seed}}
      .dump();
}

fovea::Metadata Translator::metadata() const {
  return {{"kind", kKind},
          {"options", describe()},
          {"source_vocab", source_vocab_.to_json()},
          {"target_vocab", target_vocab_.to_json()}};
}

void Translator::save(const std::filesystem::path& path) const {
  fovea::save(path, model_->state(), metadata());
}

Translator Translator::load(const std::filesystem::path& path, fovea::Rng& rng) {
  const fovea::SafetensorsFile file = fovea::SafetensorsFile::read(path);
  check_kind(file);
  const auto text = [&](const char* key) { return metadata_of(file, key); };
  Translator t;
  t.source_vocab_ = data::Vocab::from_json(text("source_vocab"));
  t.target_vocab_ = data::Vocab::from_json(text("target_vocab"));
  try {
    const auto o = nlohmann::json::parse(text("options"));
    t.unit_ = data::unit_named(o.at("unit").get<std::string>());
    t.task_ = {o.at("dates"), o.at("source"), o.at("target"), o.at("seed")};
    t.model_ =
        std::make_unique<nn::Seq2Seq>(nn::Seq2SeqOptions{.source_vocab = t.source_vocab_.size(),
                                                         .target_vocab = t.target_vocab_.size(),
                                                         .embed_dim = o.at("embed_dim"),
                                                         .hidden_size = o.at("hidden_size"),
                                                         .attention = o.at("attention"),
                                                         .dropout = o.at("dropout")},
                                      rng);
  } catch (const nlohmann::json::exception& error) {
    fovea::format_error("load", "{}: its options: {}", path.string(), error.what());
  }
  t.model_->name_tree("translate");
  fovea::load_into(file, t.model_->state());
  return t;
}

data::Ids Translator::encode_source(const std::string& line) const {
  return source_vocab_.encode(data::tokenize(line, unit_));
}

data::Ids Translator::encode_target(const std::string& line) const {
  return target_vocab_.encode(data::tokenize(line, unit_));
}

Tensor Translator::loss(const data::TranslationBatch& batch, double smoothing) const {
  const nn::Seq2SeqMemory memory = model_->encode(batch.source.tensor(), batch.source.lengths);
  const Tensor logits =
      model_->decode(memory, batch.target_input.tensor(), batch.target_input.lengths);
  const fovea::RaggedIndex real(batch.target_output.lengths);
  return fovea::cross_entropy(logits, fovea::pack(batch.target_output.tensor(), real).values,
                              {.label_smoothing = smoothing});
}

std::vector<std::vector<nn::Hypothesis>> Translator::search(const std::vector<data::Ids>& sources,
                                                            const data::Ids& rows,
                                                            const SearchOptions& options) const {
  const data::PaddedBatch batch = data::pad_rows(sources, rows);
  const nn::Seq2SeqMemory memory = model_->encode(batch.tensor(), batch.lengths);
  const auto step = [&](const Tensor& last, std::vector<Tensor>& state) {
    return model_->step(memory, last, state[0]);
  };
  return nn::beam_search(step, {memory.initial}, batch.batch_size,
                         {.beam = options.beam,
                          .max_length = 2 * batch.max_len + 10,
                          .length_penalty = options.length_penalty,
                          .n_best = options.n_best,
                          .bos = data::Vocab::bos,
                          .eos = data::Vocab::eos});
}

std::vector<std::vector<Translation>> Translator::translate(const std::vector<std::string>& lines,
                                                            const SearchOptions& options) const {
  const fovea::NoGrad guard;
  model_->eval();
  std::vector<data::Tokens> tokens;
  std::vector<data::Ids> sources;
  for (const std::string& line : lines) {
    tokens.push_back(data::tokenize(line, unit_));
    sources.push_back(source_vocab_.encode(tokens.back()));
    sources.back().push_back(data::Vocab::eos);
  }
  std::vector<std::vector<Translation>> results(lines.size());
  for (const data::Ids& rows : data::sorted_batches(data::pair_lengths(sources, sources), 64)) {
    const auto found = search(sources, rows, options);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      if (!is_blank(lines[row]))
        for (const nn::Hypothesis& h : found[i])
          results[row].push_back({spell(tokens[row], h.tokens, options.replace_unknown), h.score});
      if (results[row].empty()) results[row].push_back({});
    }
  }
  return results;
}

std::string Translator::spell(const std::vector<std::string>& source, const data::Ids& target,
                              bool replace_unknown) const {
  std::vector<std::string> words;
  for (const std::int64_t id : target) words.push_back(target_vocab_.token(id));
  const bool unknown = std::find(target.begin(), target.end(), data::Vocab::unk) != target.end();
  if (replace_unknown && unknown && attends()) {
    const Alignment seen = align_ids(source, target);
    for (std::size_t t = 0; t < target.size(); ++t) {
      if (target[t] != data::Vocab::unk) continue;
      const auto row = seen.weights.begin() + static_cast<std::ptrdiff_t>(t * seen.source.size());
      const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(source.size()));
      words[t] = source[static_cast<std::size_t>(best - row)];
    }
  }
  return data::detokenize(words, unit_);
}

Alignment Translator::align(const std::string& source, const std::string& target) const {
  return align_ids(data::tokenize(source, unit_), encode_target(target));
}

Alignment Translator::align_ids(const std::vector<std::string>& source,
                                const data::Ids& target) const {
  const fovea::NoGrad guard;
  model_->eval();
  Alignment seen;
  seen.source = source;
  seen.source.push_back("<eos>");
  data::Ids ids = source_vocab_.encode(source);
  ids.push_back(data::Vocab::eos);
  const auto length = static_cast<std::int64_t>(ids.size());
  const nn::Seq2SeqMemory memory = model_->encode(fovea::from_data(ids, {1, length}), {length});
  Tensor state = memory.initial;
  std::int64_t last = data::Vocab::bos;
  for (std::size_t t = 0; t <= target.size(); ++t) {
    Tensor weights;
    model_->step(memory, fovea::from_data(data::Ids{last}, {1}), state, &weights);
    if (weights.defined())
      for (const double w : weights.to_vector<double>()) seen.weights.push_back(w);
    last = t < target.size() ? target[t] : data::Vocab::eos;
    seen.target.push_back(target_vocab_.token(last));
  }
  return seen;
}
