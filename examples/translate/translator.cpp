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

std::vector<data::Ids> with_eos(std::vector<data::Ids> sources) {
  for (data::Ids& ids : sources) ids.push_back(data::Vocab::eos);
  return sources;
}

}  // namespace

Translator::Translator(const Corpus& corpus, const Options& o, fovea::Rng& rng)
    : unit_(corpus.unit),
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
  return nlohmann::json{{"embed_dim", o.embed_dim},
                        {"hidden_size", o.hidden_size},
                        {"attention", o.attention},
                        {"dropout", o.dropout},
                        {"unit", std::string(data::unit_name(unit_))}}
      .dump();
}

void Translator::save(const std::filesystem::path& path) const {
  fovea::save(path, model_->state(),
              {{"kind", kKind},
               {"options", describe()},
               {"source_vocab", source_vocab_.to_json()},
               {"target_vocab", target_vocab_.to_json()}});
}

Translator Translator::load(const std::filesystem::path& path, fovea::Rng& rng) {
  const fovea::SafetensorsFile file = fovea::SafetensorsFile::read(path);
  const fovea::Metadata& meta = file.metadata();
  const auto kind = meta.find("kind");
  if (kind == meta.end() || kind->second != kKind)
    fovea::format_error("translate", "{} was not written by --save: its kind is '{}', not '{}'",
                        path.string(), kind == meta.end() ? "" : kind->second, kKind);
  const nlohmann::json o = nlohmann::json::parse(meta.at("options"));
  Translator t;
  t.unit_ = data::unit_named(o.at("unit").get<std::string>());
  t.source_vocab_ = data::Vocab::from_json(meta.at("source_vocab"));
  t.target_vocab_ = data::Vocab::from_json(meta.at("target_vocab"));
  t.model_ =
      std::make_unique<nn::Seq2Seq>(nn::Seq2SeqOptions{.source_vocab = t.source_vocab_.size(),
                                                       .target_vocab = t.target_vocab_.size(),
                                                       .embed_dim = o.at("embed_dim"),
                                                       .hidden_size = o.at("hidden_size"),
                                                       .attention = o.at("attention"),
                                                       .dropout = o.at("dropout")},
                                    rng);
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

std::vector<std::vector<Translation>> Translator::translate(const std::vector<std::string>& lines,
                                                            const SearchOptions& search) const {
  const fovea::NoGrad guard;
  model_->eval();
  std::vector<std::vector<std::string>> tokens;
  std::vector<data::Ids> ids;
  for (const std::string& line : lines) {
    tokens.push_back(data::tokenize(line, unit_));
    ids.push_back(source_vocab_.encode(tokens.back()));
  }
  std::vector<std::vector<Translation>> results(lines.size());
  const std::vector<data::Ids> sources = with_eos(ids);
  for (const data::Ids& rows : data::sorted_batches(data::pair_lengths(ids, ids), 64)) {
    const data::PaddedBatch batch = data::pad_rows(sources, rows);
    const nn::Seq2SeqMemory memory = model_->encode(batch.tensor(), batch.lengths);
    const auto step = [&](const Tensor& last, std::vector<Tensor>& state) {
      return model_->step(memory, last, state[0]);
    };
    const auto found = nn::beam_search(step, {memory.initial}, batch.batch_size,
                                       {.beam = search.beam,
                                        .max_length = 2 * batch.max_len + 10,
                                        .length_penalty = search.length_penalty,
                                        .n_best = search.n_best,
                                        .bos = data::Vocab::bos,
                                        .eos = data::Vocab::eos});
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      for (const nn::Hypothesis& h : found[i])
        results[row].push_back(
            {ids[row].empty() ? "" : spell(tokens[row], h.tokens, search.replace_unknown),
             h.score});
    }
  }
  return results;
}

std::string Translator::spell(const std::vector<std::string>& source, const data::Ids& target,
                              bool replace_unknown) const {
  std::vector<std::string> words;
  for (const std::int64_t id : target) words.push_back(target_vocab_.token(id));
  const bool unknown = std::find(target.begin(), target.end(), data::Vocab::unk) != target.end();
  if (replace_unknown && unknown && model_->options().attention) {
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
