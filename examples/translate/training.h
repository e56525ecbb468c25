// Training and evaluation of a Translator.
#pragma once

#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include "alignment.h"

/// Metrics of a training, for output and --json.
struct Metrics {
  std::string metric = {};            // "exact_match" or "bleu"; empty: not evaluated
  double score = 0;                   // percent, on the test set
  double loss = 0;                    // on the test set, nats per token, without label smoothing
  double seconds = 0;                 // of training
  double tokens_per_second = 0;       // target tokens in training
  std::string stopped_by = "loaded";  // or the reason why training ended
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training: forecast and measured
};

/// Sentence pairs as ids.
struct Pairs {
  std::vector<fovea::nn::data::Ids> sources, targets;
  std::vector<fovea::nn::data::PairLength> lengths;
  std::vector<Links> links = {};  // alignments of all pairs, or empty

  Pairs(const Tokenizer& tokenizer, const fovea::nn::data::ParallelText& text);
  fovea::nn::data::TranslationBatch batch(const fovea::nn::data::Ids& rows) const;
};

/// Options of the training batches.
fovea::nn::data::BucketOptions bucket_options(const Options& options);

/// Forecast of the cost of a training step with the largest batch and of the largest searches of a
/// validation. Does not train.
fovea::nn::inspect::CostLedger forecast(const Tokenizer& tokenizer, const Corpus& corpus,
                                        const Pairs& pairs, const Options& options);

/// Trains and prints progress to standard error. lock: of the output files, if already locked.
/// pairs: the corpus's training text.
fovea::optim::TrainingResult train_model(Translator& translator, const Corpus& corpus,
                                         const Pairs& pairs, const Options& options,
                                         fovea::Rng& rng,
                                         const fovea::optim::TrainingLock* lock = nullptr);

/// In percent: exact matches, or BLEU on the tokenized text.
double score(const Translator& translator, const Corpus& corpus,
             const fovea::nn::data::ParallelText& text, const SearchOptions& search);

double mean_loss(const Translator& translator, const fovea::nn::data::ParallelText& text);
