// Sampling the next token from the logits of a language model.
//
// B batch, V vocabulary.
#pragma once

#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

#include <vector>

namespace fovea::nn {

struct SamplingOptions {
  double temperature = 1;  ///< divisor of the logits; 0: argmax
  std::int64_t top_k = 0;  ///< sample from the k most likely tokens; 0: all
  double top_p = 1;        ///< sample from the most likely tokens that sum to this probability
};

/// The sampling distribution: softmax(logits / temperature), restricted to the k most likely
/// tokens, then to the smallest set of them with probability top_p (of the remaining mass) or more;
/// normalized to sum 1. Of equal logits the earlier token counts as more likely.
///   logits: (V)   ->   V values
/// top-k: Fan et al. 2018, Hierarchical Neural Story Generation, section 4.1.2; top-p ("nucleus"):
/// Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, section 3.1.
/// ValueError for options out of range, and for logits that are NaN, +inf or all -inf; ShapeError.
std::vector<double> sampling_probabilities(const Tensor& logits,
                                           const SamplingOptions& options = {});

/// Samples a token. Draws one value from `rng`, or none if the temperature is 0.    logits: (V)
std::int64_t sample(const Tensor& logits, const SamplingOptions& options, Rng& rng);

/// sample() for each row.    logits: (B, V)   ->   i64 (B)
Tensor sample_rows(const Tensor& logits, const SamplingOptions& options, Rng& rng);

}  // namespace fovea::nn
