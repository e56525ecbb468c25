// Character-level language models.
#pragma once

#include <fovea/nn/inspect/cost.h>
#include <fovea/optim/trainer.h>

#include <cmath>

#include "language_model.h"
#include "options.h"

/// Metrics of a training, for output and --json.
struct TrainingResult {
  double seconds = 0;                // of training
  double loss = std::nan("");        // on validation text, nats per character
  double characters_per_second = 0;  // while training
  std::int64_t steps = 0;
  std::int64_t forecast_peak_bytes = 0, peak_bytes = 0;  // of training: forecast and measured
  int signal = 0;                                        // that interrupted the training
  fovea::Metadata metadata = {};                         // identifies the model of this training
};

/// The text. Its last tenth is the validation text.
std::string training_text(const Options& options);

/// A new model for the characters of `text`.
LanguageModel new_model(const Options& options, const std::string& text);
/// Forecast of the cost of a training step and of a validation. Does not train.
fovea::nn::inspect::CostLedger forecast(const Options& options, const std::string& text);
/// Trains and prints progress to standard error. lock: of the output files, if already locked.
TrainingResult train_model(LanguageModel& model, const Options& options, const std::string& text,
                           const fovea::optim::TrainingLock* lock = nullptr);

/// training: TrainingResult::metadata, of a model that was just trained
void save_model(LanguageModel& model, const std::filesystem::path& path,
                const fovea::Metadata& training = {});
LanguageModel load_model(const std::filesystem::path& path);
