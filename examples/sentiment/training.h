// Teaching a Critic, and measuring what it learned.
#pragma once

#include <fovea/optim/trainer.h>

#include "critic.h"

/// What was reached, for people and for --json.
struct Figures {
  double accuracy = 0;  // per cent
  double loss = 0;      // nats a sentence, without smoothing
  double seconds = 0;   // of training
  double tokens_per_second = 0;
  std::string stopped_by = "loaded";  // or why training ended
};

/// Trains with live progress on standard error.
fovea::optim::TrainingResult teach(Critic& critic, const Corpus& corpus, const Options& options,
                                   fovea::Rng& rng);

/// Accuracy and loss on these reviews.
Figures measure(const Critic& critic, const Reviews& reviews);
