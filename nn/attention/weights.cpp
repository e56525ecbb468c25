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

const std::vector<std::string>& normalizer_names() {
  static const std::vector<std::string> names{"softmax", "sparsemax", "entmax15"};
  return names;
}

AttentionNormalizer normalizer_from_name(std::string_view name) {
  const auto& names = normalizer_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    value_error("weights", "'{}': must be one of {}", name, fmt::join(names, ", "));
  return static_cast<AttentionNormalizer>(found - names.begin());  // in the order of the enum
}

Tensor weights_of(const Tensor& scores, const Mask& mask, AttentionNormalizer kind) {
  if (kind == AttentionNormalizer::sparsemax) return masked_sparsemax(scores, mask);
  if (kind == AttentionNormalizer::entmax15) return masked_entmax15(scores, mask);
  return masked_softmax(scores, mask);
}

Tensor weights_of(const Tensor& scores, const Tensor& kept, AttentionNormalizer kind) {
  if (kind == AttentionNormalizer::sparsemax) return masked_sparsemax(scores, kept);
  if (kind == AttentionNormalizer::entmax15) return masked_entmax15(scores, kept);
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

AttentionOutput additive_attend(const Tensor& query, const AttentionMemory& memory, const Tensor& v,
                                AttentionNormalizer kind) {
  if (kind == AttentionNormalizer::softmax)
    return additive_attention(query, memory.keys, v, memory.values, memory.mask);
  const Tensor weights = weights_of(additive_scores(query, memory.keys, v), memory.mask, kind);
  return {matmul(weights, memory.values), weights};  // (B, T, C), (B, T, S)
}

AttentionOutput additive_attend(const Tensor& query, const AttentionMemory& memory,
                                const Tensor& key_bias, const Tensor& v, AttentionNormalizer kind) {
  const std::int64_t B = query.dim(0), K = query.dim(1);
  if (K == 1)  // as in training: the terms can be added to the keys
    return additive_attend(query, {memory.keys + key_bias, memory.values, memory.mask}, v, kind);
  const Tensor own = reshape(key_bias, {B, K, key_bias.dim(1), key_bias.dim(2)});
  const Tensor hidden = tanh(unsqueeze(query, 2) + unsqueeze(memory.keys, 1) + own);  // (B,K,S,A)
  const Tensor weights = weights_of(matmul(hidden, v), memory.mask, kind);            // (B, K, S)
  return {matmul(weights, memory.values), weights};
}

}  // namespace fovea::nn
