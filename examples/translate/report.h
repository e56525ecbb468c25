// Outputs after training or loading.
#pragma once

#include "training.h"

/// Ten translations of the test set with their references; one with its attention weights.
void show_examples(const Translator& translator, const Corpus& corpus, const SearchOptions& search);

/// The attention weights of translating `line`, as SVG.
void write_heatmap(const Translator& translator, const std::string& line,
                   const SearchOptions& search, const std::filesystem::path& path);

/// An interactive HTML page with the attention weights of translating `lines`.
void write_explorer(const Translator& translator, const std::vector<std::string>& lines,
                    const SearchOptions& search, const std::filesystem::path& path);

/// Loss and validation metric over training time, as SVG.
void write_curve(const fovea::optim::TrainingResult& training, const std::string& metric,
                 const std::filesystem::path& path);

void write_json(const Metrics& figures, const Translator& translator,
                const std::filesystem::path& path);

/// One translation per line, or (n_best > 1) several with line number and score.
std::string translate_lines(const Translator& translator, const std::vector<std::string>& lines,
                            const SearchOptions& search);
