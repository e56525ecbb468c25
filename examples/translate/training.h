// Teaching a Translator, and measuring what it learned.
#pragma once

#include <fovea/nn/inspect/cost.h>
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
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training, before and after
};

/// Sentence pairs as ids.
struct Pairs {
  std::vector<fovea::nn::data::Ids> sources, targets;
  std::vector<fovea::nn::data::PairLength> lengths;
  std::vector<Links> links = {};  // where to look, of every pair, or none

  Pairs(const Speller& speller, const fovea::nn::data::ParallelText& text);
  fovea::nn::data::TranslationBatch batch(const fovea::nn::data::Ids& rows) const;
};

/// How training batches are made.
fovea::nn::data::BucketOptions bucket_options(const Options& options);

/// What a training step of the largest batch will take, and a validation's last searches. Nothing
/// is trained.
fovea::nn::inspect::CostLedger forecast(const Speller& speller, const Corpus& corpus,
                                        const Pairs& pairs, const Options& options);

/// Trains with live progress on standard error. lock: of the files to write, if it is held. pairs:
/// the corpus's training text.
fovea::optim::TrainingResult teach(Translator& translator, const Corpus& corpus, const Pairs& pairs,
                                   const Options& options, fovea::Rng& rng,
                                   const fovea::optim::TrainingLock* lock = nullptr);

/// Per cent: exact matches, or BLEU on the tokenised text.
double score(const Translator& translator, const Corpus& corpus,
             const fovea::nn::data::ParallelText& text, const SearchOptions& search);

double mean_loss(const Translator& translator, const fovea::nn::data::ParallelText& text);
