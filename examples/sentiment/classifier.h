// The net: embeddings, an encoder, pooling to one vector a sentence, and a linear layer.
#pragma once

#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>

#include <optional>

#include "encoders.h"

/// One vector for each sentence.    x: values (N, C)  ->  (B, C).   A sentence of no words: zeros
///   mean       c_b = sum_t x_t / T
///   attention  e_t = v . tanh(W x_t + b),  a = softmax(e),  c_b = sum_t a_t x_t
/// The second is additive attention (Bahdanau et al. 2015) by a query that is the same for every
/// sentence: Yang et al. 2016, Hierarchical Attention Networks for Document Classification, eqs.
/// 5 to 7.
class Pooling : public fovea::nn::Module {
 public:
  Pooling(std::int64_t width, bool attention, fovea::Rng& rng);

  /// weights: if given, and pooling is by attention: (B, S), zeros behind short sentences
  fovea::Tensor operator()(const fovea::Ragged& x, fovea::Tensor* weights = nullptr) const;
  bool attends() const { return key_proj.has_value(); }
  void visit(fovea::nn::Visitor& v) override;

  std::optional<fovea::nn::Linear> key_proj;  ///< W and b
  fovea::Tensor score;                        ///< v (C)
};

/// logits = W_o dropout(pool(encode(dropout(embed(ids))))) + b_o:  [no praise, praise]
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
  Pooling pooling;
  fovea::nn::Linear output;
  fovea::nn::Dropout drop;
};
