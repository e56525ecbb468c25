// Mechanisms by name, for programs with an --attention option.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/attention/weights.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn {

/// Sizes and options of the mechanisms; each mechanism uses those that apply to it.
struct AttentionFactoryOptions {
  std::int64_t query_dim;      ///< Cq
  std::int64_t key_dim;        ///< Ck; for "dot" and "scaled-dot" equal to Cq
  std::int64_t attention_dim;  ///< A, width of hidden layers; the feature width of "linear"
  AttentionNormalizer weights = AttentionNormalizer::softmax;  ///< for all but "hard" and "linear"
  std::int64_t window = 10;                                    ///< D of "local-m" and "local-p"
  std::int64_t num_heads = 4;  ///< H of "multihead"; attention_dim is a multiple of it
  std::int64_t value_dim = 0;  ///< C, for "multihead"; 0: Ck
  bool coverage = false;       ///< of "additive": the score uses the past weights of each key
};

/// The mechanisms that implement DecoderAttention:
///   additive               Bahdanau et al. 2015; with coverage See et al. 2017
///   dot, general, concat   Luong et al. 2015, section 3.1
///   scaled-dot             Vaswani et al. 2017
///   local-m, local-p       Luong et al. 2015, section 3.2, with the score "general"
///   location               Chorowski et al. 2015
///   hard                   Xu et al. 2015, straight-through, with the score "general"
///   multihead              Vaswani et al. 2017, section 3.2.2
const std::vector<std::string>& decoder_attention_names();
/// ValueError that lists the names for an unknown one; ValueError for `weights` with a mechanism
/// that does not support them, and for coverage without "additive". `rng` must outlive a "hard"
/// one.
std::unique_ptr<DecoderAttention> make_decoder_attention(std::string_view name,
                                                         const AttentionFactoryOptions& sizes,
                                                         Rng& rng);

/// The single-head mechanisms of decoder_attention_names(), and linear: Katharopoulos et al. 2020.
const std::vector<std::string>& single_head_attention_names();
/// Any of the mechanisms above. Errors as make_decoder_attention().
std::unique_ptr<Attention> make_attention(std::string_view name,
                                          const AttentionFactoryOptions& sizes, Rng& rng);

}  // namespace fovea::nn
