#include "translator.h"

#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ragged.h>
#include <fovea/core/safetensors.h>
#include <fovea/nn/attention/alignment.h>
#include <fovea/optim/interrupt.h>

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace nn = fovea::nn;
using fovea::Tensor;

namespace {

constexpr const char* kKind = "fovea translate 2";
constexpr const char* kOldKind = "fovea translate 1";  // recurrent models of words only

bool is_blank(const std::string& line) { return data::tokenize(line, data::Unit::words).empty(); }

// List: tokens or ids.
template <class List>
List first_tokens(List all, std::int64_t most) {
  if (std::ssize(all) > most) all.resize(static_cast<std::size_t>(most));
  return all;
}

// Matrix products with few rows use another kernel with different rounding. Small batches are
// padded with copies of the first line, so that results do not depend on the other lines.
constexpr std::int64_t least_rows = 16;

data::Ids filled(data::Ids rows) {
  while (std::ssize(rows) < least_rows) rows.push_back(rows[0]);
  return rows;
}

std::string metadata_of(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

void check_kind(const fovea::SafetensorsFile& file) {
  const std::string kind = metadata_of(file, "kind");
  if (kind != kKind && kind != kOldKind)
    fovea::format_error("load", "{}: kind = '{}': must be '{}', a model of translate",
                        file.source(), kind, kKind);
  if (file.find("place.counts"))
    fovea::format_error(
        "load", "{}: is a checkpoint for --resume, the model is in the file without '.last'",
        file.source());
}

ModelOptions model_options(const Options& o, const Tokenizer& tokenizer) {
  return {.kind = o.model,
          .source_vocab = tokenizer.source().size(),
          .target_vocab = tokenizer.target().size(),
          .joint = tokenizer.joint(),
          .embed = o.embed,
          .dropout = o.dropout,
          .hidden = o.hidden,
          .attention = o.attention,
          .weights = o.attention_weights,
          .coverage = o.coverage,
          .input_feeding = o.input_feeding,
          .coverage_loss = o.coverage_loss,
          .guided_weight = o.guided_alignment.empty() ? 0 : o.guided_weight,
          .recompute = o.recompute,
          .layers = o.layers,
          .heads = o.heads,
          .ffn = o.ffn,
          .attention_dropout = o.attention_dropout};
}

// Mean over the target tokens without padding.    logits: (N, V), packed
Tensor cross_entropy_of(const Tensor& logits, const data::TranslationBatch& batch,
                        double smoothing) {
  const fovea::RaggedIndex real(batch.target_output.lengths);
  return fovea::cross_entropy(logits, fovea::pack(batch.target_output.tensor(), real).values,
                              {.label_smoothing = smoothing});
}

}  // namespace

Translator::Translator(Task task, Tokenizer tokenizer, std::unique_ptr<Model> model)
    : task_(std::move(task)), tokenizer_(std::move(tokenizer)) {
  models_.push_back(std::move(model));
  models_[0]->module().name_tree("translate");
}

Translator::Translator(Tokenizer tokenizer, const Options& o, fovea::Rng& rng)
    : task_(o.task), tokenizer_(std::move(tokenizer)) {
  models_.push_back(Model::make(model_options(o, tokenizer_), rng));
  models_[0]->module().name_tree("translate");
}

std::string Translator::describe() const {
  nlohmann::json json = to_json(model().options());
  json.update({{"unit", data::unit_name(tokenizer_.unit())},
               {"dates", task_.dates},
               {"source", task_.source},
               {"target", task_.target},
               {"seed", task_.seed}});
  return json.dump();
}

fovea::Metadata Translator::metadata() const {
  fovea::Metadata metadata{{"kind", kKind}, {"options", describe()}};
  tokenizer_.write(metadata);
  return metadata;
}

void Translator::save(const std::filesystem::path& path) const {
  fovea::save(path, model().module().state(), metadata());
}

Translator Translator::load(const std::filesystem::path& path, fovea::Rng& rng) {
  const fovea::SafetensorsFile file = support::read_checkpoint(path, "translate");
  check_kind(file);
  const support::SavedOptions saved(file, "options");
  ModelOptions options = model_options_from(saved);
  Task task{.dates = saved.flag("dates"),
            .source = saved.text("source"),
            .target = saved.text("target"),
            .seed = saved.number<std::uint64_t>("seed", support::ranges::seed)};
  Tokenizer tokenizer(file, data::unit_named(saved.choice("unit", {"words", "characters"})));
  options.source_vocab = tokenizer.source().size();
  options.target_vocab = tokenizer.target().size();
  support::compare_tensors(
      file, [&](fovea::Rng& unused) { return Model::make(options, unused)->module().state(); });
  Translator t(std::move(task), std::move(tokenizer), Model::make(options, rng));
  fovea::load_into(file, t.model().module().state(), {.finite = true});
  return t;
}

void Translator::add(const std::filesystem::path& path, fovea::Rng& rng) {
  Translator other = load(path, rng);
  if (other.task_.name() != task_.name())
    fovea::value_error("load", "{}: task = {}: must be {}, the task of the first model",
                       path.string(), other.task_.name(), task_.name());
  if (!(other.tokenizer_ == tokenizer_))
    fovea::value_error("load",
                       "{}: vocabularies of {} and {} tokens: must equal those of the first model, "
                       "with {} and {} tokens",
                       path.string(), other.tokenizer_.source().size(),
                       other.tokenizer_.target().size(), tokenizer_.source().size(),
                       tokenizer_.target().size());
  models_.push_back(std::move(other.models_[0]));
}

void Translator::eval() const {
  for (const auto& model : models_) model->module().eval();
}

bool Translator::attends() const {
  return std::any_of(models_.begin(), models_.end(), [](const auto& m) { return m->attends(); });
}

std::int64_t Translator::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& model : models_) count += model->module().parameter_count();
  return count;
}

Tensor Translator::loss(const data::TranslationBatch& batch, double smoothing) const {
  std::vector<Tensor> logits;
  for (const auto& model : models_) logits.push_back(model->logits(batch));
  return cross_entropy_of(nn::mean_prediction(logits), batch, smoothing);
}

Tensor Translator::training_loss(const data::TranslationBatch& batch, double smoothing,
                                 const Tensor& links) const {
  const ModelOptions& o = model().options();
  const bool use_weights = o.coverage_loss > 0 || o.guided_weight > 0;
  Tensor weights;  // (B, T, S)
  const Tensor logits = model().logits(batch, use_weights ? &weights : nullptr);
  Tensor loss = cross_entropy_of(logits, batch, smoothing);
  if (o.coverage_loss > 0)
    loss = loss + o.coverage_loss * nn::coverage_loss(weights, batch.target_output.lengths);
  if (o.guided_weight > 0)
    loss = loss + o.guided_weight * nn::guided_alignment_loss(weights, links);
  return loss;
}

std::vector<std::vector<nn::Hypothesis>> Translator::search(const std::vector<data::Ids>& sources,
                                                            const data::Ids& rows,
                                                            const SearchOptions& options) const {
  const data::PaddedBatch batch = data::pad_rows(sources, filled(rows));
  std::vector<nn::DecodeStart> starts;
  for (const auto& model : models_) {
    Model::Start start = model->start(batch);
    starts.push_back(
        {[step = std::move(start.step)](const Tensor& last, std::vector<Tensor>& state) {
           return step(last, state, nullptr);
         },
         std::move(start.state), std::move(start.keep)});
  }
  data::Ids limits;
  for (const std::int64_t length : batch.lengths)  // with <eos>
    limits.push_back(
        std::ssize(limits) < std::ssize(rows) ? std::min(2 * length + 10, options.max_length) : 1);
  auto found = nn::beam_search(nn::ensemble(std::move(starts)), batch.batch_size,
                               {.beam = options.beam,
                                .length_penalty = options.length_penalty,
                                .n_best = options.n_best,
                                .max_lengths = std::move(limits),
                                .min_rows = least_rows,
                                .bos = data::Vocab::bos,
                                .eos = data::Vocab::eos});
  found.resize(rows.size());
  return found;
}

std::vector<data::Ids> Translator::search_batches(const std::vector<std::int64_t>& lengths,
                                                  std::int64_t beam) {
  constexpr std::int64_t most_rows = 512;       // hypotheses per step
  constexpr std::int64_t most_tokens = 16'384;  // attended source tokens per step, with padding
  const std::int64_t most = std::min(search_batch, std::max<std::int64_t>(1, most_rows / beam));
  data::Ids rows(lengths.size());
  std::iota(rows.begin(), rows.end(), 0);
  const auto length = [&](std::int64_t row) { return lengths[static_cast<std::size_t>(row)]; };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](std::int64_t a, std::int64_t b) { return length(a) < length(b); });
  std::vector<data::Ids> batches;
  for (const std::int64_t row : rows) {
    const std::int64_t count = batches.empty() ? most : std::ssize(batches.back());
    if (count == most || length(row) != length(batches.back()[0]) ||
        (count + 1) * length(row) > most_tokens)
      batches.emplace_back();
    batches.back().push_back(row);
  }
  return batches;
}

std::vector<std::vector<Translation>> Translator::translate(
    const std::vector<std::string>& lines, const SearchOptions& options,
    std::vector<std::size_t>* shortened) const {
  const fovea::NoGrad guard;
  eval();
  std::vector<std::size_t> indices;  // of non-blank lines
  std::vector<data::Tokens> tokens;
  std::vector<data::Ids> sources;
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (is_blank(lines[i])) continue;
    indices.push_back(i);
    data::Tokens all = tokenizer_.cut(lines[i]);
    if (std::ssize(all) > options.max_length && shortened) shortened->push_back(i);
    tokens.push_back(first_tokens(std::move(all), options.max_length));
    sources.push_back(tokenizer_.source().encode(tokens.back()));
    sources.back().push_back(data::Vocab::eos);
    lengths.push_back(std::ssize(sources.back()));
  }
  std::vector<std::vector<Translation>> results(lines.size());
  for (const data::Ids& rows : search_batches(lengths, options.beam)) {
    fovea::optim::check_interrupt();
    const auto found = search(sources, rows, options);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      for (const nn::Hypothesis& h : found[i])
        results[indices[row]].push_back(
            {spell(tokens[row], h.tokens, options.replace_unknown), h.score});
    }
  }
  for (auto& found : results)
    if (found.empty()) found.push_back({});
  return results;
}

std::string Translator::spell(const std::vector<std::string>& source, const data::Ids& target,
                              bool replace_unknown) const {
  std::vector<std::string> words;
  for (const std::int64_t id : target) words.push_back(tokenizer_.target().token(id));
  const bool unknown = std::find(target.begin(), target.end(), data::Vocab::unk) != target.end();
  if (replace_unknown && unknown && attends()) {
    const Alignment alignment = align_ids({source}, {target})[0];
    for (std::size_t t = 0; t < target.size(); ++t) {
      if (target[t] != data::Vocab::unk) continue;
      const auto row =
          alignment.weights.begin() + static_cast<std::ptrdiff_t>(t * alignment.source.size());
      const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(source.size()));
      words[t] = source[static_cast<std::size_t>(best - row)];
    }
  }
  return tokenizer_.join(words);
}

std::vector<Alignment> Translator::align(const std::vector<std::string>& sources,
                                         const std::vector<std::string>& targets,
                                         std::int64_t max_length) const {
  std::vector<data::Tokens> read;
  std::vector<data::Ids> written;
  for (const std::string& line : sources)
    read.push_back(first_tokens(tokenizer_.cut(line), max_length));
  for (const std::string& line : targets)
    written.push_back(first_tokens(tokenizer_.encode_target(line), max_length));
  return align_ids(read, written);
}

// Attention weights of each step, the mean over the models with attention.    (B, T, S)
Tensor Translator::forced_weights(const data::TranslationBatch& batch) const {
  const Tensor ids = batch.target_input.tensor();  // (B, T)
  std::vector<Tensor> of_models;
  for (const auto& model : models_) {
    if (!model->attends()) continue;
    Model::Start start = model->start(batch.source);
    std::vector<Tensor> steps(static_cast<std::size_t>(ids.dim(1)));
    for (std::int64_t t = 0; t < ids.dim(1); ++t)
      start.step(fovea::select(ids, 1, t), start.state, &steps[static_cast<std::size_t>(t)]);
    of_models.push_back(fovea::concat(steps, 1));
  }
  return of_models.empty() ? Tensor() : fovea::mean(fovea::stack(of_models), 0);
}

std::vector<Alignment> Translator::align_ids(const std::vector<data::Tokens>& sources,
                                             const std::vector<data::Ids>& targets) const {
  const fovea::NoGrad guard;
  eval();
  std::vector<data::Ids> read;
  for (const data::Tokens& source : sources) read.push_back(tokenizer_.source().encode(source));
  std::vector<Alignment> alignments(sources.size());
  std::vector<std::int64_t> lengths;
  for (const data::Ids& ids : read) lengths.push_back(std::ssize(ids) + 1);
  for (const data::Ids& rows : search_batches(lengths, 1)) {
    const Tensor weights = forced_weights(data::translation_batch(read, targets, filled(rows)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(rows[i]);
      Alignment& alignment = alignments[row];
      alignment.source = sources[row];
      alignment.source.push_back("<eos>");
      for (const std::int64_t id : targets[row])
        alignment.target.push_back(tokenizer_.target().token(id));
      alignment.target.push_back("<eos>");
      if (!weights.defined()) continue;
      const Tensor own = fovea::select(weights, 0, static_cast<std::int64_t>(i));  // (T, S)
      alignment.weights = fovea::narrow(fovea::narrow(own, 0, 0, std::ssize(alignment.target)), 1,
                                        0, std::ssize(alignment.source))
                              .to_vector<double>();
    }
  }
  return alignments;
}

nn::inspect::ReportSentence Translator::explain(const std::string& source,
                                                const std::string& target,
                                                std::int64_t max_length) const {
  const fovea::NoGrad guard;
  eval();
  const std::vector<data::Ids> sources{first_tokens(tokenizer_.encode_source(source), max_length)},
      targets{first_tokens(tokenizer_.encode_target(target), max_length)};
  data::Tokens read = first_tokens(tokenizer_.cut(source), max_length),
               written = first_tokens(tokenizer_.cut(target), max_length);
  read.push_back("<eos>");
  data::Tokens so_far = written;
  so_far.insert(so_far.begin(), "<bos>");
  written.push_back("<eos>");
  nn::inspect::ReportSentence sentence{
      .title = source,
      .prediction = target,
      .sequences = {{"source", read}, {"target", written}, {"target so far", so_far}}};
  for (const AttentionLayers& layers : model().attention_layers()) {
    nn::inspect::AttentionProbe probe(model().module(), layers.pattern);
    model().logits(data::translation_batch(sources, targets, data::Ids{0}));
    for (nn::inspect::AttentionMap& map :
         nn::inspect::attention_maps(probe, {.mechanism = layers.mechanism,
                                            .kind = layers.kind,
                                            .queries = layers.queries,
                                            .keys = layers.keys}))
      sentence.maps.push_back(std::move(map));
  }
  return sentence;
}
