// Models that learn a text character by character.
#pragma once

#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include <cmath>

#include "options.h"
#include "speaker.h"

/// What was reached, for people and for --json.
struct Learned {
  double seconds = 0;                // of training
  double loss = std::nan("");        // on text that it has not seen, nats a character
  double characters_per_second = 0;  // while training
  std::int64_t steps = 0;
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training, before and after
  int signal = 0;                                        // that interrupted it
  fovea::Metadata metadata = {};                         // by which its model is known
};

/// A text, of which the last tenth is for validation.
std::string training_text(const Options& options);

/// A new model for the characters of `text`.
Speaker new_speaker(const Options& options, const std::string& text);
/// What a training step will take, and a validation. Nothing is trained.
fovea::nn::inspect::CostLedger forecast(const Options& options, const std::string& text);
/// Trains it with live progress on standard error. lock: of the files to write, if it is held.
Learned teach(Speaker& speaker, const Options& options, const std::string& text,
              const fovea::optim::TrainingLock* lock = nullptr);

/// training: Learned::metadata, of a model that was just trained
void save_speaker(Speaker& speaker, const std::filesystem::path& path,
                  const fovea::Metadata& training = {});
Speaker load_speaker(const std::filesystem::path& path);
