// The classifier: embeddings, an encoder, optional self-attention, pooling to one vector per
// sentence, and a linear layer.
#pragma once

#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>

#include <optional>

#include "encoders.h"
#include "pooling.h"

/// logits = W_o dropout(pool(attend(encode(dropout(embed(ids)))))) + b_o:  [negative, positive];
/// attend is SelfAttention for models with +selfattention, else the identity.
class Classifier : public fovea::nn::Module {
  ModelOptions options_;  // first: the members below use it

 public:
  /// `rng` must outlive the module: dropout uses it.
  Classifier(const ModelOptions& options, std::int64_t vocab, fovea::Rng& rng);

  /// ids: i64, values (N)  ->  (B, 2).   weights: as for Pooling
  fovea::Tensor operator()(const fovea::Ragged& ids, fovea::Tensor* weights = nullptr) const;
  void visit(fovea::nn::Visitor& v) override;
  const ModelOptions& options() const { return options_; }

  fovea::nn::Embedding embedding;
  std::unique_ptr<Encoder> encoder;
  std::optional<SelfAttention> self_attention;
  Pooling pooling;
  fovea::nn::Linear output;
  fovea::nn::Dropout drop;
};
