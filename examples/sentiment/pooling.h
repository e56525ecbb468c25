// Pooling of a sentence's hidden states to one vector.
#pragma once

#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/linear.h>

#include <optional>

#include "models.h"

/// c, one vector for each sentence.   x: values (N, C)  ->  (B, C).   An empty sentence: zeros
///   last      c = x_T; bidirectional: the forward half of x_T and the backward half of x_1, the
///             final state of each direction. After a self-attention layer, the same elements of
///             that layer's outputs
///   mean      c = sum_t x_t / T
///   max       c_i = max_t x_ti, elementwise: Conneau et al. 2017, Supervised Learning of
///             Universal Sentence Representations from Natural Language Inference Data, section 3.2
///   additive  e_t = v . tanh(W x_t + b),  a = softmax(e),  c = sum_t a_t x_t: Bahdanau et al. 2015
///             with one learned query for all sentences: Yang et al. 2016, Hierarchical Attention
///             Networks for Document Classification, eqs. 5 to 7
///   dot       e_t = q . x_t, a and c as above: Luong et al. 2015, section 3.1, with a learned
///   query
class Pooling : public fovea::nn::Module {
 public:
  /// bidirectional: whether x has two directions, for `last`
  Pooling(std::int64_t width, PoolBy by, bool bidirectional, fovea::Rng& rng);

  /// weights: if given, and pooling is by attention: (B, S), zeros at padding
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
