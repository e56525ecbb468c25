// From scores to weights to a mixture of values: what the mechanisms with a (T, S) matrix share.
#pragma once

#include <fovea/nn/attention/step.h>

#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn {

/// What makes weights of scores. softmax gives every kept key some weight; sparsemax (Martins and
/// Astudillo 2016) and entmax-1.5 (Peters et al. 2019) give most of them exactly none.
enum class AttentionWeights { softmax, sparsemax, entmax15 };

/// "softmax", "sparsemax", "entmax15".
const std::vector<std::string>& weights_names();
/// ValueError that lists the names.
AttentionWeights weights_named(std::string_view name);

/// Rows sum to 1, or are all 0 where nothing is kept.   scores: (B, T, S) -> (B, T, S)
Tensor weights_of(const Tensor& scores, const Mask& mask, AttentionWeights kind);
/// The same with the mask written out.   kept: bool, stretched to scores' shape
Tensor weights_of(const Tensor& scores, const Tensor& kept, AttentionWeights kind);

/// ValueError unless all are at least 1: the widths of queries, keys and the layer that scores
/// them.
void check_widths(const char* op, std::int64_t query_dim, std::int64_t key_dim,
                  std::int64_t attention_dim);

/// The scores e_ts = v . tanh(q_t + k_s), their weights and their mixture.
/// query: (B, T, A), projected; memory.keys: (B, S, A); v: (A)
AttentionOutput additive_look(const Tensor& query, const AttentionMemory& memory, const Tensor& v,
                              AttentionWeights kind);

/// The same where every query has something of its own to add to each key:
///   e_ts = v . tanh(q_t + k_s + p_ts)                     places: (B K, S, A), a row a query
AttentionOutput additive_look(const Tensor& query, const AttentionMemory& memory,
                              const Tensor& places, const Tensor& v, AttentionWeights kind);

/// v . tanh(q_t + k_s), with the (B, T, S, A) tensor written out.   -> (B, T, S)
Tensor additive_scores(const Tensor& query, const Tensor& keys, const Tensor& v);

}  // namespace fovea::nn
