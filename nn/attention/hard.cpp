#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ops/straight_through.h>
#include <fovea/nn/attention/hard.h>

#include <limits>

namespace fovea::nn {

HardAttention::HardAttention(HardAttentionOptions o, Rng& rng)
    : sample_(o.sample),
      rng_(&rng),
      scores({o.score, o.query_dim, o.key_dim, o.attention_dim}, rng) {}

Tensor HardAttention::project(const Tensor& key) const { return scores.project(key); }

// One-hot rows; zeros where nothing is kept, NaN where soft is.   soft: (B, K, S)
Tensor HardAttention::choose(const Tensor& soft) const {
  const NoGrad guard;
  const Tensor p = numbers_of(soft);
  if (p.numel() == 0) return p;
  Tensor key;  // (B, K)
  if (sample_ && training()) {
    // Of waiting times with rates p_s, the first to end is s with probability p_s.
    const Tensor waits = neg(log(1.0 - rand(p.shape(), *rng_, p.dtype())));  // Exp(1), finite
    const Tensor ends = where(gt(p, 0.0), waits / where(gt(p, 0.0), p, 1.0),
                              std::numeric_limits<double>::infinity());
    key = argmin(ends, -1);
  } else {
    key = argmax(p, -1);
  }
  const Tensor top = max(p, -1, true);  // (B, K, 1)
  return where(gt(top, 0.0), one_hot(key, p.dim(-1), p.dtype()), 0.0 * top);
}

AttentionOutput HardAttention::step(const Tensor& query, const AttentionMemory& memory,
                                    std::vector<Tensor>&) const {
  const Tensor soft = masked_softmax(scores(query, memory.keys), memory.mask);  // (B, K, S)
  const Tensor weights = straight_through(choose(soft), soft);
  return {matmul(weights, memory.values), weights};  // (B, K, C), (B, K, S)
}

}  // namespace fovea::nn
