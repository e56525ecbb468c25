// Teaching a Critic, and measuring what it learned.
#pragma once

#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include "critic.h"

/// What was reached, for people and for --json.
struct Figures {
  double accuracy = 0;  // per cent
  double loss = 0;      // nats a sentence, without smoothing
  double seconds = 0;   // of training
  double tokens_per_second = 0;
  std::string stopped_by = "loaded";                     // or why training ended
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training, before and after
};

/// Reviews as ids, with what the batches are made by.
struct Examples {
  std::vector<EncodedText> texts;
  fovea::nn::data::Ids labels;
  std::vector<fovea::nn::data::PairLength> lengths;

  Examples(const fovea::nn::data::Vocab& vocab, const Reviews& reviews, bool bigrams);
  fovea::Tensor labels_of(const fovea::nn::data::Ids& rows) const;  // (B) i64
  std::int64_t words_in(const fovea::nn::data::Ids& rows) const;
};

/// What a training step of the largest batch will take, and a validation. Nothing is trained.
fovea::nn::inspect::CostLedger forecast(const fovea::nn::data::Vocab& vocab, const Corpus& corpus,
                                        const Examples& examples, const Options& options);

/// Trains with live progress on standard error. lock: of the files to write, if it is held.
/// examples: the corpus's training text.
fovea::optim::TrainingResult teach(Critic& critic, const Corpus& corpus, const Examples& examples,
                                   const Options& options, fovea::Rng& rng,
                                   const fovea::optim::TrainingLock* lock = nullptr);

/// Accuracy and loss on these reviews.
Figures measure(const Critic& critic, const Reviews& reviews);
