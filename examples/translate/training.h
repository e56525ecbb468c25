// Teaching a Translator, and measuring what it learned.
#pragma once

#include <fovea/optim/trainer.h>

#include "alignment.h"

/// What was reached, for people and for --json.
struct Figures {
  std::string metric = {};            // "exact_match" or "bleu"; empty: nothing was measured
  double score = 0;                   // per cent, on the test set
  double loss = 0;                    // on the test set, nats a token, without smoothing
  double seconds = 0;                 // of training
  double tokens_per_second = 0;       // target tokens while training
  std::string stopped_by = "loaded";  // or why training ended
};

/// Trains with live progress on standard error. links: where to look, of every training pair, or
/// none.
fovea::optim::TrainingResult teach(Translator& translator, const Corpus& corpus,
                                   const std::vector<Links>& links, const Options& options,
                                   fovea::Rng& rng);

/// Per cent: exact matches, or BLEU on the tokenised text.
double score(const Translator& translator, const Corpus& corpus,
             const fovea::nn::data::ParallelText& text, const SearchOptions& search);

double mean_loss(const Translator& translator, const fovea::nn::data::ParallelText& text);
