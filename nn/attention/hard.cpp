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

// One-hot rows; zeros if every key is masked, NaN where `soft` is NaN.   soft: (B, K, S)
Tensor HardAttention::choose(const Tensor& soft) const {
  const NoGrad guard;
  const Tensor p = without_graph(soft);
  if (p.numel() == 0) return p;
  Tensor key;  // (B, K)
  if (sample_ && training()) {
    // Sampling by exponential variables: the smallest of E_s / p_s has index s with probability
    // p_s.
    const Tensor exponential = neg(log(1.0 - rand(p.shape(), *rng_, p.dtype())));  // Exp(1), finite
    const Tensor times = where(gt(p, 0.0), exponential / where(gt(p, 0.0), p, 1.0),
                               std::numeric_limits<double>::infinity());
    key = argmin(times, -1);
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
