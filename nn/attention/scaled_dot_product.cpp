#include <fovea/core/ops/layout.h>
#include <fovea/nn/attention/scaled_dot_product.h>

namespace fovea::nn {

ScaledDotProduct::ScaledDotProduct(ScaledDotProductOptions options, Rng& rng)
    : options_(options), rng_(&rng) {
  if (!(options_.dropout >= 0 && options_.dropout < 1))
    value_error("ScaledDotProduct", "dropout = {}: must be in [0, 1)", options_.dropout);
}

Tensor ScaledDotProduct::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Mask& mask) const {
  const Scope in(*this);
  if (query.rank() != 3 || key.rank() != 3 || value.rank() != 3)
    shape_error("ScaledDotProduct",
                "query {}, key {}, value {}: must be (B, T, C), (B, S, C), (B, S, Cv)",
                query.shape().str(), key.shape().str(), value.shape().str());
  AttentionOptions o;
  o.scale = options_.scale;
  o.dropout = training() ? options_.dropout : 0;
  o.rng = rng_;
  const Tensor q = unsqueeze(query, 1), k = unsqueeze(key, 1);  // (B, 1, T, C), (B, 1, S, C)
  if (watched())
    report({.B = q.dim(0),
            .H = 1,
            .T = q.dim(2),
            .S = k.dim(2),
            .rows = [q = without_graph(q), k = without_graph(k), mask, o](std::int64_t begin,
                                                                          std::int64_t end) {
              return attention_weights(q, k, mask, o, begin, end);
            }});
  return squeeze(scaled_dot_product_attention(q, k, unsqueeze(value, 1), mask, o), 1);
}

}  // namespace fovea::nn
