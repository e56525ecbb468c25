#include "report.h"

#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/heatmap.h>

#include <iostream>
#include <unistd.h>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace inspect = fovea::nn::inspect;

namespace {

inspect::HeatMap heatmap_of(const Translator& translator, const std::string& line,
                            const SearchOptions& search) {
  const std::string best = translator.translate({line}, search)[0][0].text;
  const Alignment seen = translator.align(line, best);
  return {.title = line + " -> " + best,
          .row_labels = seen.target,
          .column_labels = seen.source,
          .weights = seen.weights};
}

}  // namespace

void show_examples(const Translator& translator, const Corpus& corpus,
                   const SearchOptions& search) {
  const auto count = static_cast<std::ptrdiff_t>(std::min<std::int64_t>(10, corpus.test.size()));
  const std::vector<std::string> lines(corpus.test.source.begin(),
                                       corpus.test.source.begin() + count);
  const auto found = translator.translate(lines, search);
  std::cout << '\n';
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& wanted = corpus.test.target[i];
    std::cout << fmt::format("{}  ->  {}{}\n", lines[i], found[i][0].text,
                             found[i][0].text == wanted ? "" : "    (wanted: " + wanted + ")");
  }
  if (!translator.model().options().attention || lines.empty()) return;
  std::cout << "\nWhere the first one looked, target downwards, source to the right:\n\n"
            << inspect::draw_in_terminal(heatmap_of(translator, lines[0], search),
                                         inspect::terminal_colour(STDOUT_FILENO));
}

void write_heatmap(const Translator& translator, const std::string& line,
                   const SearchOptions& search, const std::filesystem::path& path) {
  if (!translator.model().options().attention) return;
  fovea::write_file_atomically(path, inspect::draw_as_svg(heatmap_of(translator, line, search)));
}

void write_curve(const fovea::optim::TrainingResult& training, const std::string& metric,
                 const std::filesystem::path& path) {
  inspect::Series loss{.name = "training loss"},
      validation{.name = "validation " + metric + " / 100"};
  for (const fovea::optim::Progress& p : training.history) {
    loss.x.push_back(p.seconds);
    loss.y.push_back(p.loss);
    validation.x.push_back(p.seconds);
    validation.y.push_back(p.validation / 100);
  }
  fovea::write_file_atomically(path, inspect::draw_as_svg({.title = "How it learned",
                                                           .x_label = "seconds of training",
                                                           .y_label = "",
                                                           .series = {loss, validation}}));
}

void write_json(const Figures& f, const Options& options) {
  const nlohmann::ordered_json json{{f.metric, f.score},
                                    {"loss", f.loss},
                                    {"parameters", f.parameters},
                                    {"train_seconds", f.train_seconds},
                                    {"tokens_per_second", f.tokens_per_second},
                                    {"threads", fovea::num_threads()},
                                    {"attention", options.attention},
                                    {"seed", options.seed},
                                    {"stopped_by", f.stopped_by}};
  fovea::write_file_atomically(options.json, json.dump(2) + "\n");
}

void translate_files(const Translator& translator, const Options& options,
                     const SearchOptions& search) {
  if (!options.text.empty())
    for (const Translation& t : translator.translate({options.text}, search)[0])
      std::cout << t.text << '\n';
  if (options.input.empty()) return;
  const std::vector<std::string> lines = data::read_lines(options.input, data::Utf8::lenient);
  std::string text;
  for (const auto& best : translator.translate(lines, search))
    for (const Translation& t : best) text += t.text + '\n';
  if (options.output.empty()) {
    std::cout << text;
  } else {
    fovea::write_file_atomically(options.output, text);
  }
}
