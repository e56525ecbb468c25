// From scores to weights to a weighted sum of values, for the mechanisms with a (T, S) matrix.
#pragma once

#include <fovea/nn/attention/decoder_attention.h>

#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn {

/// The function that maps scores to weights. softmax gives every unmasked key a positive weight;
/// sparsemax (Martins and Astudillo 2016) and entmax-1.5 (Peters et al. 2019) give most keys weight
/// 0 exactly.
enum class AttentionNormalizer { softmax, sparsemax, entmax15 };

/// "softmax", "sparsemax", "entmax15".
const std::vector<std::string>& normalizer_names();
/// ValueError that lists the names for an unknown one.
AttentionNormalizer normalizer_from_name(std::string_view name);

/// Rows sum to 1, or are all 0 if every key is masked.   scores: (B, T, S) -> (B, T, S)
Tensor weights_of(const Tensor& scores, const Mask& mask, AttentionNormalizer kind);
/// The same with the mask as a tensor.   kept: bool, true where attended, broadcast to scores
Tensor weights_of(const Tensor& scores, const Tensor& kept, AttentionNormalizer kind);

/// ValueError unless all are at least 1: the widths of queries, keys and the layer of the score.
void check_widths(const char* op, std::int64_t query_dim, std::int64_t key_dim,
                  std::int64_t attention_dim);

/// The scores e_ts = v . tanh(q_t + k_s), their weights, and the weighted sum of memory.values.
/// query: (B, T, A), projected; memory.keys: (B, S, A); v: (A)
AttentionOutput additive_attend(const Tensor& query, const AttentionMemory& memory, const Tensor& v,
                                AttentionNormalizer kind);

/// The same with a term for each pair of query and key:
///   e_ts = v . tanh(q_t + k_s + p_ts)                     p, key_bias: (B K, S, A)
AttentionOutput additive_attend(const Tensor& query, const AttentionMemory& memory,
                                const Tensor& key_bias, const Tensor& v, AttentionNormalizer kind);

/// v . tanh(q_t + k_s), computed with a (B, T, S, A) tensor in memory.   -> (B, T, S)
Tensor additive_scores(const Tensor& query, const Tensor& keys, const Tensor& v);

}  // namespace fovea::nn
