// Data: the dates task, or a directory of parallel text.
#pragma once

#include <fovea/nn/data/tasks.h>
#include <fovea/nn/data/text.h>

#include "options.h"

struct Corpus {
  fovea::nn::data::ParallelText train, validation, test;
  fovea::nn::data::Unit unit = fovea::nn::data::Unit::words;
  std::string metric;  // "exact_match" or "bleu"
};

/// Error if a file is missing or two files do not match.
Corpus load_corpus(const Options& options);

/// The files that it may read: with the names of Multi30k, and with plain names.
std::vector<std::filesystem::path> corpus_files(const Options& options);
