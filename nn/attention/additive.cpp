#include <fovea/nn/attention/additive.h>
#include <fovea/nn/init.h>

namespace fovea::nn {
namespace {

const AdditiveAttentionOptions& checked(const AdditiveAttentionOptions& o) {
  check_widths("AdditiveAttention", o.query_dim, o.key_dim, o.attention_dim);
  return o;
}

}  // namespace

AdditiveAttention::AdditiveAttention(AdditiveAttentionOptions o, Rng& rng)
    : weights_(checked(o).weights),
      query_proj({.in_features = o.query_dim, .out_features = o.attention_dim, .bias = false}, rng),
      key_proj({.in_features = o.key_dim, .out_features = o.attention_dim}, rng),
      score(init::uniform_parameter({o.attention_dim}, o.attention_dim, rng)) {}

Tensor AdditiveAttention::project(const Tensor& key) const { return key_proj(key); }

AttentionOutput AdditiveAttention::step(const Tensor& query, const AttentionMemory& memory,
                                        std::vector<Tensor>&) const {
  return additive_attend(query_proj(query), memory, score, weights_);
}

void AdditiveAttention::visit(Visitor& v) {
  v("query_proj", query_proj);
  v("key_proj", key_proj);
  v("score", score);
}

}  // namespace fovea::nn
