// What the program shows and writes at its end.
#pragma once

#include "training.h"

/// Ten translations of the test set beside what was asked for; one with its attention drawn.
void show_examples(const Translator& translator, const Corpus& corpus, const SearchOptions& search);

/// The attention of translating `line`, as SVG.
void write_heatmap(const Translator& translator, const std::string& line,
                   const SearchOptions& search, const std::filesystem::path& path);

/// A page to explore the attention of translating `lines`, as HTML.
void write_explorer(const Translator& translator, const std::vector<std::string>& lines,
                    const SearchOptions& search, const std::filesystem::path& path);

/// Loss and validation over the time of training, as SVG.
void write_curve(const fovea::optim::TrainingResult& training, const std::string& metric,
                 const std::filesystem::path& path);

void write_json(const Figures& figures, const Translator& translator,
                const std::filesystem::path& path);

/// Line by line, one line for each, or (n_best > 1) several with their line's number and score.
std::string translate_lines(const Translator& translator, const std::vector<std::string>& lines,
                            const SearchOptions& search);
