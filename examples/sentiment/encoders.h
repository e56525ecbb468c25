// What turns the embeddings of a sentence's words into states, word by word.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/nn/module.h>

#include "options.h"

/// x: values (N, E)  ->  values (N, C), the same sentences.
class Encoder : public fovea::nn::Module {
 public:
  virtual fovea::Ragged operator()(const fovea::Ragged& x) const = 0;
  virtual std::int64_t width() const = 0;  ///< C
};

/// The one that options.model names. `rng` must outlive it: dropout draws from it.
///   bow            the embeddings themselves
///   gru+additive   a bidirectional GRU; lstm+additive: an LSTM
///   selfattention  x + attention(x), then LayerNorm: one multi-head layer, with positions
///   transformer    a pre-norm TransformerEncoder, with positions
std::unique_ptr<Encoder> make_encoder(const ModelOptions& options, fovea::Rng& rng);
