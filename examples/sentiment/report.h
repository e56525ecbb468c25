// Outputs after training or loading.
#pragma once

#include <fovea/nn/inspect/terminal.h>

#include "training.h"

/// One probability per line, four decimals.
std::string probabilities(const SentimentModel& model, const std::vector<std::string>& lines);

/// The line with the words' contributions: "0.93  a fine cast". With colors, words that contribute
/// to "positive" have a green background, the others red, darker for larger contributions. Without
/// colors, words with at least a third of the largest contribution are followed by it: "not[-1.9]".
std::string draw_in_terminal(const Explanation& judgment, fovea::nn::inspect::Color color);

/// Predictions for ten of the reviews, with the label if it differs.
void show_examples(const SentimentModel& model, const Corpus& corpus);

/// An interactive page with the contribution of every word and the attention weights.
void write_report(const SentimentModel& model, const Reviews& reviews, bool labeled,
                  const Metrics& figures, const std::filesystem::path& path);

/// Up to `count` of the reviews, evenly spaced.
Reviews some_of(const Reviews& reviews, std::size_t count);

/// Loss and validation error over training time, as SVG.
void write_curve(const fovea::optim::TrainingResult& training, const std::filesystem::path& path);

void write_json(const SentimentModel& model, const Metrics& figures, const Corpus& corpus,
                const Options& options, const std::filesystem::path& path);
