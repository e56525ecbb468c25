#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/init.h>

namespace fovea::nn {

namespace {

EmbeddingOptions checked(const EmbeddingOptions& o) {
  check_sizes("Embedding",
              {{"num_embeddings", o.num_embeddings}, {"embedding_dim", o.embedding_dim}});
  return o;
}

}  // namespace

Embedding::Embedding(EmbeddingOptions options, Rng& rng)
    : weight(empty({checked(options).num_embeddings, options.embedding_dim})),
      padding_idx(options.padding_idx) {
  if (padding_idx < -1 || padding_idx >= options.num_embeddings)
    index_error("Embedding", "padding_idx = {}: must be -1 or in [0, num_embeddings = {})",
                padding_idx, options.num_embeddings);
  init::normal(weight, 0.0, 1.0, rng);
  if (padding_idx >= 0) select(weight, 0, padding_idx).fill(0.0);
  weight.set_requires_grad();
}

Tensor Embedding::operator()(const Tensor& ids) const {
  const Scope in(*this);
  return embedding(weight, ids, padding_idx);
}

void Embedding::visit(Visitor& v) { v("weight", weight); }

}  // namespace fovea::nn
