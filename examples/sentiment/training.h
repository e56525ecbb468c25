// Training and evaluation of a SentimentModel.
#pragma once

#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include "sentiment_model.h"

/// Metrics of a training, for output and --json.
struct Metrics {
  double accuracy = 0;  // percent
  double loss = 0;      // nats per sentence, without label smoothing
  double seconds = 0;   // of training
  double tokens_per_second = 0;
  std::string stopped_by = "loaded";                     // or the reason why training ended
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training: forecast and measured
};

/// Reviews as ids, with labels and with lengths for batching.
struct Examples {
  std::vector<EncodedText> texts;
  fovea::nn::data::Ids labels;
  std::vector<fovea::nn::data::PairLength> lengths;

  Examples(const fovea::nn::data::Vocab& vocab, const Reviews& reviews, bool bigrams);
  fovea::Tensor labels_of(const fovea::nn::data::Ids& rows) const;  // (B) i64
  std::int64_t words_in(const fovea::nn::data::Ids& rows) const;
};

/// Forecast of the cost of a step with the largest batch and of a validation. Does not train.
fovea::nn::inspect::CostLedger forecast(const fovea::nn::data::Vocab& vocab, const Corpus& corpus,
                                        const Examples& examples, const Options& options);

/// Trains and prints progress to standard error. lock: of the output files, if already locked.
/// examples: the corpus's training text.
fovea::optim::TrainingResult train_model(SentimentModel& model, const Corpus& corpus,
                                         const Examples& examples, const Options& options,
                                         fovea::Rng& rng,
                                         const fovea::optim::TrainingLock* lock = nullptr);

/// Accuracy and loss on these reviews.
Metrics measure(const SentimentModel& model, const Reviews& reviews);
