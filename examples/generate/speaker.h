// A language model with its alphabet, and what it says.
#pragma once

#include <fovea/nn/data/vocab.h>
#include <fovea/nn/transformer_lm.h>

#include <functional>
#include <memory>
#include <string>

using fovea::nn::data::Ids;

struct Speaker {
  std::shared_ptr<fovea::Rng> rng = {};  // of the start and of dropout; outlives the model
  std::unique_ptr<fovea::nn::TransformerLM> model = {};
  std::function<Ids(const std::string&)> encode;      // a text's beginning, never empty
  std::function<std::string(std::int64_t)> bytes_of;  // of a token
  Ids stop = {};                                      // tokens that end a text
  std::string name = {};
  std::string vocab_json = {};  // of a model that can be saved
};

struct Speech {
  std::string text = {};  // the prompt and what followed
  Ids tokens = {};        // both, as tokens
  std::int64_t new_tokens = 0;
  double prompt_seconds = 0;     // until the first token
  double tokens_per_second = 0;  // of the tokens after the first
};

struct SpeechOptions {
  fovea::nn::SamplingOptions sampling = {};
  std::int64_t tokens = 256;
  std::uint64_t seed = 1;
  bool endless = false;
  std::function<void()> after_token = {};  ///< called for each
};

/// Goes on from the prompt; `out` is given the text piece by piece, in valid UTF-8.
Speech say(const Speaker& speaker, const std::string& prompt, const SpeechOptions& options,
           const std::function<void(const std::string&)>& out);
