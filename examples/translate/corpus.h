// What there is to translate: the dates task, or a folder of parallel text.
#pragma once

#include <fovea/nn/data/tasks.h>
#include <fovea/nn/data/text.h>

#include "options.h"

struct Corpus {
  fovea::nn::data::ParallelText train, validation, test;
  fovea::nn::data::Unit unit = fovea::nn::data::Unit::words;
  std::string metric;  // "exact_match" or "bleu"
};

/// Error where a file is missing or two files do not fit together.
Corpus load_corpus(const Options& options);

/// The files that it may read: Multi30k's names and plain ones, whichever are there.
std::vector<std::filesystem::path> corpus_files(const Options& options);
