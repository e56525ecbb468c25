#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/weights.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea::nn {

const std::vector<std::string>& weights_names() {
  static const std::vector<std::string> names{"softmax", "sparsemax", "entmax15"};
  return names;
}

AttentionWeights weights_named(std::string_view name) {
  const auto& names = weights_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    value_error("weights", "'{}': it must be one of {}", name, fmt::join(names, ", "));
  return static_cast<AttentionWeights>(found - names.begin());  // in the order of the enum
}

Tensor weights_of(const Tensor& scores, const Mask& mask, AttentionWeights kind) {
  if (kind == AttentionWeights::sparsemax) return masked_sparsemax(scores, mask);
  if (kind == AttentionWeights::entmax15) return masked_entmax15(scores, mask);
  return masked_softmax(scores, mask);
}

Tensor weights_of(const Tensor& scores, const Tensor& kept, AttentionWeights kind) {
  if (kind == AttentionWeights::sparsemax) return masked_sparsemax(scores, kept);
  if (kind == AttentionWeights::entmax15) return masked_entmax15(scores, kept);
  return masked_softmax(scores, kept);
}

void check_widths(const char* op, std::int64_t query_dim, std::int64_t key_dim,
                  std::int64_t attention_dim) {
  check_sizes(op,
              {{"query_dim", query_dim}, {"key_dim", key_dim}, {"attention_dim", attention_dim}});
}

Tensor additive_scores(const Tensor& query, const Tensor& keys, const Tensor& v) {
  const Tensor hidden = tanh(unsqueeze(query, 2) + unsqueeze(keys, 1));  // (B, T, S, A)
  return matmul(hidden, v);                                              // (B, T, S)
}

AttentionOutput additive_look(const Tensor& query, const AttentionMemory& memory, const Tensor& v,
                              AttentionWeights kind) {
  if (kind == AttentionWeights::softmax)
    return additive_attention(query, memory.keys, v, memory.values, memory.mask);
  const Tensor weights = weights_of(additive_scores(query, memory.keys, v), memory.mask, kind);
  return {matmul(weights, memory.values), weights};  // (B, T, C), (B, T, S)
}

AttentionOutput additive_look(const Tensor& query, const AttentionMemory& memory,
                              const Tensor& places, const Tensor& v, AttentionWeights kind) {
  const std::int64_t B = query.dim(0), K = query.dim(1);
  if (K == 1)  // as in training: additive attention to other keys
    return additive_look(query, {memory.keys + places, memory.values, memory.mask}, v, kind);
  const Tensor own = reshape(places, {B, K, places.dim(1), places.dim(2)});
  const Tensor hidden = tanh(unsqueeze(query, 2) + unsqueeze(memory.keys, 1) + own);  // (B,K,S,A)
  const Tensor weights = weights_of(matmul(hidden, v), memory.mask, kind);            // (B, K, S)
  return {matmul(weights, memory.values), weights};
}

}  // namespace fovea::nn
