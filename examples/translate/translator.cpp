#include "translator.h"

#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ragged.h>
#include <fovea/core/safetensors.h>

#include <algorithm>

#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace nn = fovea::nn;
using fovea::Tensor;

namespace {

constexpr const char* kKind = "fovea translate 2";
constexpr const char* kOldKind = "fovea translate 1";  // recurrent models alone, of words

bool is_blank(const std::string& line) { return data::tokenize(line, data::Unit::words).empty(); }

std::string metadata_of(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

void check_kind(const fovea::SafetensorsFile& file) {
  const std::string kind = metadata_of(file, "kind");
  if (kind != kKind && kind != kOldKind)
    fovea::format_error("load", "{} was not written by translate: its kind is '{}', not '{}'",
                        file.source(), kind, kKind);
  if (file.find("place.counts"))
    fovea::format_error("load", "{} is for --resume: the model is in the file without '.last'",
                        file.source());
}

fovea::SafetensorsFile read_model(const std::filesystem::path& path) {
  std::string bytes = fovea::read_file(path);  // an error about the file itself speaks for itself
  try {
    return fovea::SafetensorsFile::parse(std::move(bytes), path.string());
  } catch (const fovea::FormatError& error) {
    fovea::format_error("load", "{} is no model that translate wrote, or a damaged one: {}",
                        path.string(), error.what());
  }
}

ModelOptions model_options(const Options& o, const Speller& speller) {
  return {.kind = o.model,
          .source_vocab = speller.source().size(),
          .target_vocab = speller.target().size(),
          .joint = speller.joint(),
          .embed = o.embed,
          .dropout = o.dropout,
          .hidden = o.hidden,
          .attention = o.attention,
          .weights = o.attention_weights,
          .layers = o.layers,
          .heads = o.heads,
          .ffn = o.ffn,
          .attention_dropout = o.attention_dropout};
}

}  // namespace

Translator::Translator(Task task, Speller speller, std::unique_ptr<Model> model)
    : task_(std::move(task)), speller_(std::move(speller)), model_(std::move(model)) {
  model_->module().name_tree("translate");
}

Translator::Translator(const Corpus& corpus, const Options& o, fovea::Rng& rng)
    : task_(o.task), speller_(corpus, o), model_(Model::make(model_options(o, speller_), rng)) {
  model_->module().name_tree("translate");
}

std::string Translator::describe() const {
  nlohmann::json json = to_json(model_->options());
  json.update({{"unit", data::unit_name(speller_.unit())},
               {"dates", task_.dates},
               {"source", task_.source},
               {"target", task_.target},
               {"seed", task_.seed}});
  return json.dump();
}

fovea::Metadata Translator::metadata() const {
  fovea::Metadata metadata{{"kind", kKind}, {"options", describe()}};
  speller_.write(metadata);
  return metadata;
}

void Translator::save(const std::filesystem::path& path) const {
  fovea::save(path, model_->module().state(), metadata());
}

Translator Translator::load(const std::filesystem::path& path, fovea::Rng& rng) {
  const fovea::SafetensorsFile file = read_model(path);
  check_kind(file);
  try {
    const auto json = nlohmann::json::parse(metadata_of(file, "options"));
    Speller speller(file.metadata(), data::unit_named(json.at("unit").get<std::string>()));
    ModelOptions options = model_options_from(json);
    options.source_vocab = speller.source().size();
    options.target_vocab = speller.target().size();
    Translator t({json.at("dates"), json.at("source"), json.at("target"), json.at("seed")},
                 std::move(speller), Model::make(options, rng));
    fovea::load_into(file, t.model_->module().state());
    return t;
  } catch (const nlohmann::json::exception& error) {
    fovea::format_error("load", "{}: its options: {}", path.string(), error.what());
  }
}

data::Ids Translator::encode_source(const std::string& line) const {
  return speller_.source().encode(speller_.cut(line));
}

data::Ids Translator::encode_target(const std::string& line) const {
  return speller_.target().encode(speller_.cut(line));
}

Tensor Translator::loss(const data::TranslationBatch& batch, double smoothing) const {
  const fovea::RaggedIndex real(batch.target_output.lengths);
  return fovea::cross_entropy(model_->logits(batch),  // (N, V)
                              fovea::pack(batch.target_output.tensor(), real).values,
                              {.label_smoothing = smoothing});
}

std::vector<std::vector<nn::Hypothesis>> Translator::search(const std::vector<data::Ids>& sources,
                                                            const data::Ids& rows,
                                                            const SearchOptions& options) const {
  const data::PaddedBatch batch = data::pad_rows(sources, rows);
  const Model::Start start = model_->start(batch);
  const auto step = [&](const Tensor& last, std::vector<Tensor>& state) {
    return start.step(last, state, nullptr);
  };
  return nn::beam_search(step, start.state, batch.batch_size,
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
  model_->module().eval();
  std::vector<data::Tokens> tokens;
  std::vector<data::Ids> sources;
  for (const std::string& line : lines) {
    tokens.push_back(speller_.cut(line));
    sources.push_back(speller_.source().encode(tokens.back()));
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
  for (const std::int64_t id : target) words.push_back(speller_.target().token(id));
  const bool unknown = std::find(target.begin(), target.end(), data::Vocab::unk) != target.end();
  if (replace_unknown && unknown && model_->attends()) {
    const Alignment seen = align_ids(source, target);
    for (std::size_t t = 0; t < target.size(); ++t) {
      if (target[t] != data::Vocab::unk) continue;
      const auto row = seen.weights.begin() + static_cast<std::ptrdiff_t>(t * seen.source.size());
      const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(source.size()));
      words[t] = source[static_cast<std::size_t>(best - row)];
    }
  }
  return speller_.join(words);
}

Alignment Translator::align(const std::string& source, const std::string& target) const {
  return align_ids(speller_.cut(source), encode_target(target));
}

Alignment Translator::align_ids(const std::vector<std::string>& source,
                                const data::Ids& target) const {
  const fovea::NoGrad guard;
  model_->module().eval();
  Alignment seen;
  seen.source = source;
  seen.source.push_back("<eos>");
  std::vector<data::Ids> ids{speller_.source().encode(source)};
  ids[0].push_back(data::Vocab::eos);
  const Model::Start start = model_->start(data::pad_rows(ids, data::Ids{0}));
  std::vector<Tensor> state = start.state;
  std::int64_t last = data::Vocab::bos;
  for (std::size_t t = 0; t <= target.size(); ++t) {
    Tensor weights;
    start.step(fovea::from_data(data::Ids{last}, {1}), state, &weights);
    if (weights.defined())
      for (const double w : weights.to_vector<double>()) seen.weights.push_back(w);
    last = t < target.size() ? target[t] : data::Vocab::eos;
    seen.target.push_back(speller_.target().token(last));
  }
  return seen;
}

nn::inspect::ReportSentence Translator::explain(const std::string& source,
                                                const std::string& target) const {
  const fovea::NoGrad guard;
  model_->module().eval();
  const std::vector<data::Ids> sources{encode_source(source)}, targets{encode_target(target)};
  data::Tokens read = speller_.cut(source), written = speller_.cut(target);
  read.push_back("<eos>");
  data::Tokens so_far = written;
  so_far.insert(so_far.begin(), "<bos>");
  written.push_back("<eos>");
  nn::inspect::ReportSentence sentence{
      .title = source,
      .prediction = target,
      .sequences = {{"source", read}, {"target", written}, {"target so far", so_far}}};
  for (const AttentionLayers& layers : model_->attention_layers()) {
    nn::inspect::AttentionProbe probe(model_->module(), layers.pattern);
    model_->logits(data::translation_batch(sources, targets, data::Ids{0}));
    for (nn::inspect::AttentionMap& map :
         nn::inspect::attention_maps(probe, {.mechanism = layers.mechanism,
                                            .kind = layers.kind,
                                            .queries = layers.queries,
                                            .keys = layers.keys}))
      sentence.maps.push_back(std::move(map));
  }
  return sentence;
}
