// From a sentence's states to one vector.
#pragma once

#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/linear.h>

#include <optional>

#include "models.h"

/// c, one vector for each sentence.   x: values (N, C)  ->  (B, C).   A sentence of no words: zeros
///   last      c = x_T; of both directions' states the forward half of x_T and the backward half of
///             x_1: what each direction has when it has read all. Behind a self-attention layer
///             the same numbers of what that layer made of the states
///   mean      c = sum_t x_t / T
///   max       c_i = max_t x_ti, number by number: Conneau et al. 2017, Supervised Learning of
///             Universal Sentence Representations from Natural Language Inference Data, section 3.2
///   additive  e_t = v . tanh(W x_t + b),  a = softmax(e),  c = sum_t a_t x_t: Bahdanau et al. 2015
///             by a query that is the same for every sentence: Yang et al. 2016, Hierarchical
///             Attention Networks for Document Classification, eqs. 5 to 7
///   dot       e_t = q . x_t, and then the same: Luong et al. 2015, section 3.1, by such a query
class Pooling : public fovea::nn::Module {
 public:
  /// bidirectional: what `last` has to know of x
  Pooling(std::int64_t width, PoolBy by, bool bidirectional, fovea::Rng& rng);

  /// weights: if given, and pooling is by attention: (B, S), zeros behind short sentences
  fovea::Tensor operator()(const fovea::Ragged& x, fovea::Tensor* weights = nullptr) const;
  bool attends() const { return by_ == PoolBy::additive || by_ == PoolBy::dot; }
  PoolBy by() const { return by_; }
  void visit(fovea::nn::Visitor& v) override;

  std::optional<fovea::nn::Linear> key_proj;  ///< additive: W and b
  fovea::Tensor score;                        ///< additive: v (C)
  fovea::Tensor query;                        ///< dot: q (C)

 private:
  fovea::Tensor last(const fovea::Ragged& x) const;
  fovea::AttentionOutput attend(const fovea::Ragged& x) const;

  PoolBy by_;
  bool bidirectional_;
};
