// What the program shows and writes at its end.
#pragma once

#include "training.h"

/// Ten translations of the test set beside what was asked for; one with its attention drawn.
void show_examples(const Translator& translator, const Corpus& corpus, const SearchOptions& search);

/// The attention of translating `line`, as SVG.
void write_heatmap(const Translator& translator, const std::string& line,
                   const SearchOptions& search, const std::filesystem::path& path);

void write_curve(const fovea::optim::TrainingResult& training, const std::string& metric,
                 const std::filesystem::path& path);

void write_json(const Figures& figures, const Options& options);

/// --text to standard output; --input to --output, line by line.
void translate_files(const Translator& translator, const Options& options,
                     const SearchOptions& search);
