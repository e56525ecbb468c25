#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/linear_attention.h>

#include <algorithm>

namespace fovea::nn {
namespace {

// The keys that any query attends to: bool (B or 1, S, 1). From the plan of the mask, without a
// (T, S) table.
Tensor attended_keys(const Mask& mask, std::int64_t B, std::int64_t T, std::int64_t S) {
  const MaskPlan plan = mask.plan({B, 1, T, S});
  const std::int64_t rows = plan.per_row ? B : 1;
  Tensor ends = full({rows, 1}, static_cast<double>(S), DType::i64);
  std::int64_t* end = ends.mutable_data<std::int64_t>();
  for (std::int64_t b = 0; b < rows && !plan.end.empty(); ++b) {
    const auto row = plan.end.begin() + b * T;
    end[b] = T == 0 ? 0 : *std::max_element(row, row + T);
  }
  return unsqueeze(lt(arange(S), ends), -1);
}

}  // namespace

LinearAttention::LinearAttention(LinearAttentionOptions o, Rng& rng) {
  check_sizes("LinearAttention", {{"feature_dim", o.feature_dim}}, 0);
  check_sizes("LinearAttention", {{"query_dim", o.query_dim}, {"key_dim", o.key_dim}});
  if (o.feature_dim > 0) {
    query_proj.emplace(LinearOptions{o.query_dim, o.feature_dim, false}, rng);
    key_proj.emplace(LinearOptions{o.key_dim, o.feature_dim, false}, rng);
  } else if (o.query_dim != o.key_dim) {
    shape_error("LinearAttention",
                "query_dim = {}, key_dim = {}: must be equal without feature_dim", o.query_dim,
                o.key_dim);
  }
}

Tensor LinearAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                   const Mask& mask) const {
  const Scope in(*this);
  if (query.rank() != 3 || key.rank() != 3 || value.rank() != 3)
    shape_error("attention",
                "query {}, key {}, value {}: must be (B, T, Cq), (B, S, Ck), (B, S, C)",
                query.shape().str(), key.shape().str(), value.shape().str());
  Tensor keys = key;
  if (!mask.keeps_all())  // values in padding then reach no gradient either
    keys = where(attended_keys(mask, query.dim(0), query.dim(1), key.dim(1)), key, 0.0);
  const Tensor q = elu_feature(query_proj ? (*query_proj)(query) : query);  // (B, T, D)
  const Tensor k = elu_feature(key_proj ? (*key_proj)(keys) : keys);        // (B, S, D)
  const Tensor y = linear_attention(q, k, value, mask);                     // (B, T, C)
  if (watched())
    report(
        {q.dim(0), 1, q.dim(1), k.dim(1),
         [q = without_graph(q), k = without_graph(k), mask](std::int64_t begin, std::int64_t end) {
           return unsqueeze(linear_attention_weights(q, k, mask, begin, end), 1);
         }});
  return y;
}

void LinearAttention::visit(Visitor& v) {
  v("query_proj", query_proj);
  v("key_proj", key_proj);
}

}  // namespace fovea::nn
