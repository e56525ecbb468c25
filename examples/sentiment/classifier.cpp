#include "classifier.h"

#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/init.h>

#include <cmath>

namespace nn = fovea::nn;
using fovea::Ragged;
using fovea::Tensor;

Pooling::Pooling(std::int64_t width, bool attention, fovea::Rng& rng) {
  if (!attention) return;
  key_proj.emplace(nn::LinearOptions{.in_features = width, .out_features = width}, rng);
  score = fovea::empty({width});
  const double bound = 1.0 / std::sqrt(static_cast<double>(width));
  nn::init::uniform(score, -bound, bound, rng);
  score.set_requires_grad();
}

Tensor Pooling::operator()(const Ragged& x, Tensor* weights) const {
  const Scope in(*this);
  const std::int64_t B = x.index.batch_size(), C = x.values.dim(1);
  const std::vector<std::int64_t> lengths = x.index.lengths();
  if (!attends()) {
    std::vector<float> shares;
    for (const std::int64_t length : lengths)
      shares.push_back(1.0f / static_cast<float>(std::max<std::int64_t>(1, length)));
    return sum(fovea::pad(x), 1) * fovea::from_data(shares, {B, 1});  // (B, C)
  }
  const Tensor keys = fovea::pad({(*key_proj)(x.values), x.index});  // (B, S, C)
  const fovea::AttentionOutput seen = fovea::additive_attention(
      fovea::zeros({B, 1, C}), keys, score, fovea::pad(x), fovea::Mask::lengths(lengths));
  if (weights) *weights = fovea::squeeze(seen.weights, 1);
  return fovea::squeeze(seen.context, 1);  // (B, C)
}

void Pooling::visit(nn::Visitor& v) {
  v("key_proj", key_proj);
  v("score", score);
}

Classifier::Classifier(const ModelOptions& o, std::int64_t vocab, fovea::Rng& rng)
    : options_(o),
      embedding({.num_embeddings = vocab, .embedding_dim = o.embed}, rng),
      encoder(make_encoder(o, rng)),
      pooling(encoder->width(), o.pooling == "attention", rng),
      output({.in_features = encoder->width(), .out_features = 2}, rng),
      drop(o.dropout, rng) {
  // Words that are rare stay near where they start: let that be a place that says little.
  nn::init::normal(embedding.weight, 0.0, 0.1, rng);
  name_tree("sentiment");
}

Tensor Classifier::operator()(const Ragged& ids, Tensor* weights) const {
  const Scope in(*this);
  const Ragged words{drop(embedding(ids.values)), ids.index};  // (N, E)
  return output(drop(pooling((*encoder)(words), weights)));    // (B, 2)
}

void Classifier::visit(nn::Visitor& v) {
  v("embedding", embedding);
  v("encoder", encoder);
  v("pooling", pooling);
  v("output", output);
  v("drop", drop);
}
