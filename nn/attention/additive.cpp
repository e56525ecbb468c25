#include <fovea/nn/attention/additive.h>
#include <fovea/nn/init.h>

#include <cmath>

namespace fovea::nn {

AdditiveAttention::AdditiveAttention(AdditiveAttentionOptions o, Rng& rng)
    : query_proj({.in_features = o.query_dim, .out_features = o.attention_dim, .bias = false}, rng),
      key_proj({.in_features = o.key_dim, .out_features = o.attention_dim}, rng),
      score(empty({o.attention_dim})) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(o.attention_dim));
  init::uniform(score, -bound, bound, rng);
  score.set_requires_grad();
}

AttentionOutput AdditiveAttention::operator()(const Tensor& query, const Tensor& key,
                                              const Tensor& value, const Mask& mask) const {
  return attend(query, project_keys(key), value, mask);
}

Tensor AdditiveAttention::project_keys(const Tensor& key) const {
  const Scope in(*this);
  return key_proj(key);
}

AttentionOutput AdditiveAttention::attend(const Tensor& query, const Tensor& projected_keys,
                                          const Tensor& value, const Mask& mask) const {
  const Scope in(*this);
  return additive_attention(query_proj(query), projected_keys, score, value, mask);
}

void AdditiveAttention::visit(Visitor& v) {
  v("query_proj", query_proj);
  v("key_proj", key_proj);
  v("score", score);
}

}  // namespace fovea::nn
