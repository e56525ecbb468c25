// Encoders: from word embeddings to hidden states, one per word.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/norm.h>

#include "options.h"

/// x: values (N, E)  ->  values (N, C), the same sentences.
class Encoder : public fovea::nn::Module {
 public:
  virtual fovea::Ragged operator()(const fovea::Ragged& x) const = 0;
  virtual std::int64_t width() const = 0;  ///< C
};

/// norm(x + dropout(attention(x))): multi-head self-attention over a sentence (Vaswani et al. 2017,
/// section 3.1).
class SelfAttention : public fovea::nn::Module {
 public:
  /// `rng` must outlive the module: dropout uses it.
  SelfAttention(std::int64_t width, const ModelOptions& options, fovea::Rng& rng);

  /// x: (B, T, C)  ->  (B, T, C), for sentences with these lengths
  fovea::Tensor operator()(const fovea::Tensor& x, const std::vector<std::int64_t>& lengths) const;
  fovea::Ragged operator()(const fovea::Ragged& x) const;  ///< (N, C) -> (N, C)
  void visit(fovea::nn::Visitor& v) override;

  fovea::nn::MultiheadAttention attention;
  fovea::nn::LayerNorm norm;
  fovea::nn::Dropout drop;
};

/// The encoder of options.model. `rng` must outlive it: dropout uses it.
///   bow                  the embeddings themselves
///   rnn, gru, lstm       a recurrent net; with "bi" bidirectional, outputs concatenated
///   selfattention        SelfAttention, with positions
///   transformer          a pre-norm TransformerEncoder, with positions
std::unique_ptr<Encoder> make_encoder(const ModelOptions& options, fovea::Rng& rng);
