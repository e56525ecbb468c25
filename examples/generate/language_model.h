// A language model with its tokenizer, and text generation.
#pragma once

#include <fovea/nn/data/vocab.h>
#include <fovea/nn/transformer_lm.h>

#include <functional>
#include <memory>
#include <string>

using fovea::nn::data::Ids;

struct LanguageModel {
  std::shared_ptr<fovea::Rng> rng = {};  // for initialization and dropout; must outlive the model
  std::unique_ptr<fovea::nn::TransformerLM> model = {};
  std::function<Ids(const std::string&)> encode;      // prompt to ids, never empty
  std::function<std::string(std::int64_t)> bytes_of;  // of a token
  Ids stop = {};                                      // tokens that end a text
  std::string name = {};
  std::string vocab_json = {};  // for models that can be saved
};

struct Generation {
  std::string text = {};  // prompt and generated text
  Ids tokens = {};        // the same as tokens
  std::int64_t new_tokens = 0;
  double prompt_seconds = 0;     // until the first token
  double tokens_per_second = 0;  // of the tokens after the first
};

struct GenerationOptions {
  fovea::nn::SamplingOptions sampling = {};
  std::int64_t tokens = 256;
  std::uint64_t seed = 1;
  bool endless = false;
  std::function<void()> after_token = {};  ///< called for each token
};

/// Continues the prompt; `out` receives the text in parts that are valid UTF-8.
Generation generate_text(const LanguageModel& model, const std::string& prompt,
                         const GenerationOptions& options,
                         const std::function<void(const std::string&)>& out);
