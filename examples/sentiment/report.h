// What the program shows and writes at its end.
#pragma once

#include <fovea/nn/inspect/terminal.h>

#include "training.h"

/// A probability a line, four decimals.
std::string probabilities(const Critic& critic, const std::vector<std::string>& lines);

/// The line with what decided: "0.93  a fine cast". With colours, what speaks for praise stands on
/// green and what speaks against it on red, the stronger the deeper; without, the words that carry
/// at least a third of the strongest one's weight have it behind them: "not[-1.9]".
std::string draw_in_terminal(const Judgement& judgement, fovea::nn::inspect::Colour colour);

/// Ten of the reviews, judged, with their labels where these differ.
void show_examples(const Critic& critic, const Corpus& corpus);

/// A page to explore: the evidence of every word, and where attention looked.
void write_report(const Critic& critic, const Reviews& reviews, bool labelled,
                  const Figures& figures, const std::filesystem::path& path);

/// Up to `count` of the reviews, evenly taken.
Reviews some_of(const Reviews& reviews, std::size_t count);

/// Loss and validation over the time of training, as SVG.
void write_curve(const fovea::optim::TrainingResult& training, const std::filesystem::path& path);

void write_json(const Critic& critic, const Figures& figures, const Corpus& corpus,
                const Options& options, const std::filesystem::path& path);
