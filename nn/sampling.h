// Choosing the next token from a language model's logits.
//
// B batch, V vocabulary.
#pragma once

#include <fovea/core/random.h>
#include <fovea/core/tensor.h>

#include <vector>

namespace fovea::nn {

struct SamplingOptions {
  double temperature = 1;  ///< logits are divided by it; 0: the largest logit wins
  std::int64_t top_k = 0;  ///< only the k likeliest tokens; 0: all
  double top_p = 1;        ///< only the likeliest that together reach this probability
};

/// The probabilities that a token is drawn with: softmax(logits / temperature), of which the k
/// likeliest stay, of which the fewest stay that sum to top_p (of what is left) or more; scaled to
/// sum to 1. Of equal logits the earlier token counts as likelier.    logits: (V)   ->   V numbers
/// top-k: Fan et al. 2018, Hierarchical Neural Story Generation, section 4.1.2; top-p ("nucleus"):
/// Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, section 3.1.
/// ValueError for options out of range, and for logits that are NaN, +inf or all -inf; ShapeError.
std::vector<double> sampling_probabilities(const Tensor& logits,
                                           const SamplingOptions& options = {});

/// A token drawn so. Takes one draw of `rng`, or none where the temperature is 0.    logits: (V)
std::int64_t sample(const Tensor& logits, const SamplingOptions& options, Rng& rng);

/// For each row.    logits: (B, V)   ->   i64 (B)
Tensor sample_rows(const Tensor& logits, const SamplingOptions& options, Rng& rng);

}  // namespace fovea::nn
