#include "report.h"

#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/output.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/heatmap.h>
#include <fovea/nn/inspect/report.h>

#include <iostream>
#include <unistd.h>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace inspect = fovea::nn::inspect;

namespace {

inspect::HeatMap heatmap_of(const Translator& translator, const std::string& line,
                            const SearchOptions& search) {
  const std::string best = translator.translate({line}, search)[0][0].text;
  const Alignment alignment = translator.align({line}, {best}, search.max_length)[0];
  return {.title = line + " → " + best,
          .row_labels = alignment.target,
          .column_labels = alignment.source,
          .weights = alignment.weights};
}

}  // namespace

void show_examples(const Translator& translator, const Corpus& corpus,
                   const SearchOptions& search) {
  const std::size_t count = std::min<std::size_t>(10, corpus.test.source.size());
  const std::vector<std::string> lines(corpus.test.source.begin(),
                                       corpus.test.source.begin() + std::ptrdiff_t(count));
  const auto found = translator.translate(lines, search);
  std::cout << '\n';
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& reference = corpus.test.target[i];
    const std::string line =
        fmt::format("{}  →  {}{}\n", lines[i], found[i][0].text,
                    found[i][0].text == reference ? "" : "    (reference: " + reference + ")");
    std::cout << inspect::terminal_text(line, STDOUT_FILENO);
  }
  if (translator.attends() && count > 0)
    std::cout << "\nAttention weights (rows: target tokens, columns: source tokens):\n\n"
              << inspect::draw_in_terminal(heatmap_of(translator, lines[0], search),
                                           inspect::terminal_color(STDOUT_FILENO));
}

void write_heatmap(const Translator& translator, const std::string& line,
                   const SearchOptions& search, const std::filesystem::path& path) {
  fovea::write_file_atomically(path, inspect::draw_as_svg(heatmap_of(translator, line, search)));
}

void write_explorer(const Translator& translator, const std::vector<std::string>& lines,
                    const SearchOptions& search, const std::filesystem::path& path) {
  const Task& task = translator.task();
  inspect::Report report{
      .title = fmt::format("translate: {}", task.name()),
      .description = "Attention weights of each layer in the translation of these lines.",
      .facts = {{"model", translator.model().options().kind},
                {"parameters", fmt::format("{}", translator.model().module().parameter_count())}}};
  const auto found = translator.translate(lines, search);
  for (std::size_t i = 0; i < lines.size(); ++i)
    report.sentences.push_back(translator.explain(lines[i], found[i][0].text, search.max_length));
  inspect::write_report(path, report);
}

void write_curve(const fovea::optim::TrainingResult& training, const std::string& metric,
                 const std::filesystem::path& path) {
  // Scaled to one axis with the loss: BLEU is up to about 30, exact matches up to 100.
  const double scale = metric == "bleu" ? 10 : 100;
  inspect::Series loss{.name = "training loss"};
  inspect::Series validation{.name = fmt::format("validation {} / {:g}", metric, scale)};
  for (const fovea::optim::Progress& p : training.history) {
    loss.x.push_back(p.seconds);
    loss.y.push_back(p.loss);
    validation.x.push_back(p.seconds);
    validation.y.push_back(p.validation / scale);
  }
  fovea::write_file_atomically(path, inspect::draw_as_svg({.title = "Learning curve",
                                                           .x_label = "seconds of training",
                                                           .series = {loss, validation}}));
}

void write_json(const Metrics& f, const Translator& translator, const std::filesystem::path& path) {
  const ModelOptions& model = translator.model().options();
  nlohmann::ordered_json json{{"task", translator.task().name()}, {"model", model.kind}};
  if (!f.metric.empty()) json.update({{f.metric, f.score}, {"loss", f.loss}});
  json.update({{"parameters", translator.parameter_count()},
               {"seconds", f.seconds},
               {"tokens_per_second", f.tokens_per_second},
               {"threads", fovea::num_threads()},
               {"seed", translator.task().seed},
               {"stopped_by", f.stopped_by}});
  if (f.peak_bytes > 0) json["forecast_peak_bytes"] = f.forecast_peak_bytes;
  if (f.peak_bytes > 0) json["peak_bytes"] = f.peak_bytes;
  if (translator.model_count() > 1) json["models"] = translator.model_count();
  if (model.kind == "rnn") json["attention"] = model.attention;
  if (model.coverage) json["coverage"] = true;
  if (model.input_feeding) json["input_feeding"] = true;
  fovea::write_file_atomically(path, support::json_text(json));
}

std::string translate_lines(const Translator& translator, const std::vector<std::string>& lines,
                            const SearchOptions& search) {
  std::vector<std::size_t> shortened;
  const auto found = translator.translate(lines, search, &shortened);
  for (const std::size_t line : shortened)
    std::cerr << fmt::format("line {} has more tokens than --max-length {}: the rest is ignored\n",
                             line + 1, search.max_length);
  std::string text;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (search.n_best == 1) {
      text += found[i][0].text + '\n';
      continue;
    }
    for (const Translation& t : found[i])
      text += fmt::format("{}\t{:.4f}\t{}\n", i + 1, t.score, t.text);
  }
  return text;
}
