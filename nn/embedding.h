// Embedding: a lookup table of vectors, indexed by id.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

struct EmbeddingOptions {
  std::int64_t num_embeddings;    ///< V
  std::int64_t embedding_dim;     ///< C
  std::int64_t padding_idx = -1;  ///< this row is zero and gets no gradient; -1: none
};

/// y[..., :] = weight[ids[...], :].    ids: i64 (...)  weight: (V, C)  ->  (..., C)
/// Initialized standard normal, as in PyTorch. IndexError for an id outside [0, V).
/// Tied weights: share the table with a Linear without bias, `out.weight = embedding.weight`.
class Embedding : public Module {
 public:
  Embedding(EmbeddingOptions options, Rng& rng);
  Tensor operator()(const Tensor& ids) const;
  void visit(Visitor& v) override;

  Tensor weight;
  std::int64_t padding_idx;
};

}  // namespace fovea::nn
