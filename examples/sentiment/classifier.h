// The net: embeddings, an encoder, perhaps self-attention, pooling to one vector a sentence, and a
// linear layer.
#pragma once

#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>

#include <optional>

#include "encoders.h"
#include "pooling.h"

/// logits = W_o dropout(pool(look(encode(dropout(embed(ids)))))) + b_o:  [no praise, praise];
/// look is SelfAttention for models with +selfattention, else nothing.
class Classifier : public fovea::nn::Module {
  ModelOptions options_;  // first: the members below are sized by it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  Classifier(const ModelOptions& options, std::int64_t vocab, fovea::Rng& rng);

  /// ids: i64, values (N)  ->  (B, 2).   weights: as Pooling's
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
