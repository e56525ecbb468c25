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

// Black on a ground from white to green (for) or to red (against); part: -1 .. 1.
std::string on_colour(const std::string& word, double part, inspect::Colour colour) {
  const double depth = std::abs(part);
  if (colour == inspect::Colour::palette) {
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

// What the layers and the pooling looked at, while the sentence was judged.
std::vector<inspect::AttentionMap> maps_of(const Critic& critic, const Judgement& seen) {
  std::vector<inspect::AttentionMap> maps;
  if (!inspect::attention_layers(critic.model()).empty()) {
    const fovea::NoGrad guard;
    critic.model().eval();
    const inspect::AttentionProbe probe(critic.model());
    const EncodedText text = critic.encode(seen.words);
    critic.model()(critic.batch({&text}));
    maps = inspect::attention_maps(probe, {.mechanism = "multi-head"});
  }
  if (!seen.looked.empty())
    maps.push_back({.layer = "pooling",
                    .mechanism = critic.model().pooling.by() == PoolBy::dot ? "dot" : "additive",
                    .kind = inspect::AttentionKind::cross,
                    .queries = "decision",
                    .keys = "text",
                    .weights = to_floats(seen.looked)});
  return maps;
}

inspect::ReportSentence page_of(const Critic& critic, const Review& review, bool labelled) {
  const Judgement seen = critic.judge(review.text);
  inspect::ReportSentence page{.title = review.text};
  page.prediction = fmt::format("positive with probability {:.3f}", seen.positive);
  if (labelled)
    page.prediction += fmt::format("; labelled {}{}", review.label == 1 ? "positive" : "negative",
                                   (seen.positive > 0.5) == (review.label == 1) ? "" : ": wrong");
  page.sequences = {{"text", seen.words}};
  if (!seen.looked.empty()) page.sequences.push_back({"decision", {"(pooling)"}});
  page.maps = maps_of(critic, seen);
  page.evidence = {.sequence = "text",
                   .label = "how much the log-odds fall when the word is left out",
                   .weights = to_floats(seen.evidence),
                   .positive = "positive",
                   .negative = "negative"};
  return page;
}

}  // namespace

std::string probabilities(const Critic& critic, const std::vector<std::string>& lines) {
  std::string text;
  for (const double p : critic.positive(lines)) text += fmt::format("{:.4f}\n", p);
  return text;
}

std::string draw_in_terminal(const Judgement& seen, inspect::Colour colour) {
  const double strongest = strongest_of(seen.evidence);
  std::string line = fmt::format("{:.2f} ", seen.positive);
  for (std::size_t t = 0; t < seen.words.size(); ++t) {
    const std::string word = inspect::visible(seen.words[t]).text;
    const double part = strongest > 0 ? seen.evidence[t] / strongest : 0;
    line += ' ';
    if (colour != inspect::Colour::off && std::abs(part) >= 0.1)
      line += on_colour(word, part, colour);
    else if (colour == inspect::Colour::off && std::abs(part) >= 1.0 / 3)
      line += fmt::format("{}[{:+.1f}]", word, seen.evidence[t]);
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

void show_examples(const Critic& critic, const Corpus& corpus) {
  const inspect::Colour colour = inspect::terminal_colour(STDOUT_FILENO);
  std::cout << "\nThe probability of praise, and the words that speak for it (+) and against it:\n";
  for (const Review& review : some_of(corpus.test, 10)) {
    const Judgement seen = critic.judge(review.text);
    const bool right = (seen.positive > 0.5) == (review.label == 1);
    std::cout << draw_in_terminal(seen, colour);
    std::cout << (right ? "\n" : review.label == 1 ? "   (it praises)\n" : "   (no praise)\n");
  }
}

void write_report(const Critic& critic, const Reviews& reviews, bool labelled,
                  const Figures& figures, const std::filesystem::path& path) {
  const ModelOptions& o = critic.model().options();
  inspect::Report report{
      .title = "sentiment: " + o.model,
      .description =
          "Which words speak for praise and which against it, found by leaving each out "
          "in turn, and where attention looked.",
      .facts = {{"model", o.model},
                {"pooling", o.pooling},
                {"trained on", critic.trained_on()},
                {"parameters", fmt::format("{}", critic.model().parameter_count())}}};
  if (figures.accuracy > 0)
    report.facts.emplace_back("accuracy", fmt::format("{:.1f} %", figures.accuracy));
  for (const Review& review : reviews)
    report.sentences.push_back(page_of(critic, review, labelled));
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
  fovea::write_file_atomically(path, inspect::draw_as_svg({.title = "How it learned",
                                                           .x_label = "seconds of training",
                                                           .series = {loss, validation}}));
}

void write_json(const Critic& critic, const Figures& f, const Corpus& corpus,
                const Options& options, const std::filesystem::path& path) {
  const ModelOptions& o = critic.model().options();
  nlohmann::ordered_json json{{"trained_on", critic.trained_on()},
                              {"tested_on", corpus.tested_on},
                              {"sentences", corpus.test.size()},
                              {"model", o.model},
                              {"pooling", o.pooling},
                              {"accuracy", f.accuracy},
                              {"loss", f.loss},
                              {"parameters", critic.model().parameter_count()},
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
