#include "classifier.h"

#include <fovea/nn/init.h>

namespace nn = fovea::nn;
using fovea::Ragged;
using fovea::Tensor;

namespace {

std::optional<SelfAttention> self_attention_of(const Encoder& encoder, const ModelOptions& o,
                                               fovea::Rng& rng) {
  if (parts_of(o.model).head != Head::selfattention) return {};
  return std::optional<SelfAttention>(std::in_place, encoder.width(), o, rng);
}

}  // namespace

Classifier::Classifier(const ModelOptions& o, std::int64_t vocab, fovea::Rng& rng)
    : options_(o),
      embedding({.num_embeddings = vocab, .embedding_dim = o.embed}, rng),
      encoder(make_encoder(o, rng)),
      self_attention(self_attention_of(*encoder, o, rng)),
      pooling(encoder->width(), pool_by(o.model, o.pooling), parts_of(o.model).bidirectional, rng),
      output({.in_features = encoder->width(), .out_features = 2}, rng),
      drop(o.dropout, rng) {
  // Rare words are hardly trained: small initial values keep their influence small.
  nn::init::normal(embedding.weight, 0.0, 0.1, rng);
  name_tree("sentiment");
}

Tensor Classifier::operator()(const Ragged& ids, Tensor* weights) const {
  const Scope in(*this);
  const Ragged words{drop(embedding(ids.values)), ids.index};  // (N, E)
  Ragged states = (*encoder)(words);                           // (N, C)
  if (self_attention) states = (*self_attention)(states);
  return output(drop(pooling(states, weights)));  // (B, 2)
}

void Classifier::visit(nn::Visitor& v) {
  v("embedding", embedding);
  v("encoder", encoder);
  v("self_attention", self_attention);
  v("pooling", pooling);
  v("output", output);
  v("drop", drop);
}
