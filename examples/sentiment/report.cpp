#include "report.h"

#include <fovea/core/autograd.h>
#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/output.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/inspect/report.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <unistd.h>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace inspect = fovea::nn::inspect;

namespace {

double strongest_of(const std::vector<double>& evidence) {
  double strongest = 0;
  for (const double e : evidence) strongest = std::max(strongest, std::abs(e));
  return strongest;
}

// Black on white to green (positive) or white to red (negative); part: -1 .. 1.
std::string on_colour(const std::string& word, double part, inspect::Color color) {
  const double depth = std::abs(part);
  if (color == inspect::Color::palette) {
    constexpr int greens[] = {194, 157, 120, 83}, reds[] = {224, 217, 210, 203};  // xterm's cube
    const int step = std::min(3, static_cast<int>(depth * 4));
    return fmt::format("\x1b[38;5;16;48;5;{}m{}\x1b[0m", (part > 0 ? greens : reds)[step], word);
  }
  const int other = static_cast<int>(std::lround(255 - 175 * depth));
  return fmt::format("\x1b[38;2;0;0;0;48;2;{};{};{}m{}\x1b[0m", part > 0 ? other : 255,
                     part > 0 ? 235 : other, other, word);
}

std::vector<float> to_floats(const std::vector<double>& numbers) {
  return {numbers.begin(), numbers.end()};
}

// Attention weights of the layers and of the pooling for the sentence.
std::vector<inspect::AttentionMap> maps_of(const SentimentModel& model,
                                           const Explanation& explanation) {
  std::vector<inspect::AttentionMap> maps;
  if (!inspect::attention_layers(model.model()).empty()) {
    const fovea::NoGrad guard;
    model.model().eval();
    const inspect::AttentionProbe probe(model.model());
    const EncodedText text = model.encode(explanation.words);
    model.model()(model.batch({&text}));
    maps = inspect::attention_maps(probe, {.mechanism = "multi-head"});
  }
  if (!explanation.pooling_weights.empty())
    maps.push_back({.layer = "pooling",
                    .mechanism = model.model().pooling.by() == PoolBy::dot ? "dot" : "additive",
                    .kind = inspect::AttentionKind::cross,
                    .queries = "decision",
                    .keys = "text",
                    .weights = to_floats(explanation.pooling_weights)});
  return maps;
}

inspect::ReportSentence page_of(const SentimentModel& model, const Review& review, bool labeled) {
  const Explanation explanation = model.explain(review.text);
  inspect::ReportSentence page{.title = review.text};
  page.prediction = fmt::format("positive with probability {:.3f}", explanation.positive);
  if (labeled)
    page.prediction +=
        fmt::format("; labeled {}{}", review.label == 1 ? "positive" : "negative",
                    (explanation.positive > 0.5) == (review.label == 1) ? "" : ": wrong");
  page.sequences = {{"text", explanation.words}};
  if (!explanation.pooling_weights.empty()) page.sequences.push_back({"decision", {"(pooling)"}});
  page.maps = maps_of(model, explanation);
  page.evidence = {.sequence = "text",
                   .label = "decrease of the log-odds without the word",
                   .weights = to_floats(explanation.evidence),
                   .positive = "positive",
                   .negative = "negative"};
  return page;
}

}  // namespace

std::string probabilities(const SentimentModel& model, const std::vector<std::string>& lines) {
  std::string text;
  for (const double p : model.positive(lines)) text += fmt::format("{:.4f}\n", p);
  return text;
}

std::string draw_in_terminal(const Explanation& explanation, inspect::Color color) {
  const double strongest = strongest_of(explanation.evidence);
  std::string line = fmt::format("{:.2f} ", explanation.positive);
  for (std::size_t t = 0; t < explanation.words.size(); ++t) {
    const std::string word = inspect::visible(explanation.words[t]).text;
    const double part = strongest > 0 ? explanation.evidence[t] / strongest : 0;
    line += ' ';
    if (color != inspect::Color::off && std::abs(part) >= 0.1)
      line += on_colour(word, part, color);
    else if (color == inspect::Color::off && std::abs(part) >= 1.0 / 3)
      line += fmt::format("{}[{:+.1f}]", word, explanation.evidence[t]);
    else
      line += word;
  }
  return line;
}

Reviews some_of(const Reviews& reviews, std::size_t count) {
  count = std::min(count, reviews.size());
  Reviews chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(reviews[i * reviews.size() / count]);
  return chosen;
}

void show_examples(const SentimentModel& model, const Corpus& corpus) {
  const inspect::Color color = inspect::terminal_color(STDOUT_FILENO);
  std::cout << "\nProbability of a positive review, and the words that contribute to it (+) or "
               "reduce it:\n";
  for (const Review& review : some_of(corpus.test, 10)) {
    const Explanation explanation = model.explain(review.text);
    const bool right = (explanation.positive > 0.5) == (review.label == 1);
    std::cout << draw_in_terminal(explanation, color);
    std::cout << (right               ? "\n"
                  : review.label == 1 ? "   (label: positive)\n"
                                      : "   (label: negative)\n");
  }
}

void write_report(const SentimentModel& model, const Reviews& reviews, bool labeled,
                  const Metrics& figures, const std::filesystem::path& path) {
  const ModelOptions& o = model.model().options();
  inspect::Report report{
      .title = "sentiment: " + o.model,
      .description =
          "Contribution of each word, the change of the log-odds without it, and attention "
          "weights.",
      .facts = {{"model", o.model},
                {"pooling", o.pooling},
                {"trained on", model.trained_on()},
                {"parameters", fmt::format("{}", model.model().parameter_count())}}};
  if (figures.accuracy > 0)
    report.facts.emplace_back("accuracy", fmt::format("{:.1f} %", figures.accuracy));
  for (const Review& review : reviews) report.sentences.push_back(page_of(model, review, labeled));
  inspect::write_report(path, report);
}

void write_curve(const fovea::optim::TrainingResult& training, const std::filesystem::path& path) {
  inspect::Series loss{.name = "training loss"}, validation{.name = "validation errors, share"};
  for (const fovea::optim::Progress& p : training.history) {
    loss.x.push_back(p.seconds);
    loss.y.push_back(p.loss);
    validation.x.push_back(p.seconds);
    validation.y.push_back(1 - p.validation / 100);
  }
  fovea::write_file_atomically(path, inspect::draw_as_svg({.title = "Learning curve",
                                                           .x_label = "seconds of training",
                                                           .series = {loss, validation}}));
}

void write_json(const SentimentModel& model, const Metrics& f, const Corpus& corpus,
                const Options& options, const std::filesystem::path& path) {
  const ModelOptions& o = model.model().options();
  nlohmann::ordered_json json{{"trained_on", model.trained_on()},
                              {"tested_on", corpus.tested_on},
                              {"sentences", corpus.test.size()},
                              {"model", o.model},
                              {"pooling", o.pooling},
                              {"accuracy", f.accuracy},
                              {"loss", f.loss},
                              {"parameters", model.model().parameter_count()},
                              {"seconds", f.seconds},
                              {"tokens_per_second", f.tokens_per_second},
                              {"threads", fovea::num_threads()},
                              {"stopped_by", f.stopped_by}};
  if (options.trains()) json["forecast_peak_bytes"] = f.forecast_peak_bytes;
  if (options.trains()) json["peak_bytes"] = f.peak_bytes;
  if (options.trains()) json["seed"] = options.seed;
  if (options.trains()) json["phrases"] = options.phrases;
  fovea::write_file_atomically(path, support::json_text(json));
}
