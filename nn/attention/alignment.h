// Losses on the attention weights of a decoder.
//
// B batch, T decoder steps, S source words.
#pragma once

#include <fovea/core/tensor.h>

#include <vector>

namespace fovea::nn {

/// mean over the steps that are not padding of sum_s min(a_ts, m_ts),   m_t = sum_{u < t} a_u
/// Penalizes repeated attention to a source word (See et al. 2017, Get To The Point, section 2.3,
/// equation 12); 0 if every word is attended once, and 0 without steps.
/// weights: (B, T, S), with any values after the end of a target
/// lengths: of the targets, B values, each at most T  ->  ().   ShapeError.
Tensor coverage_loss(const Tensor& weights, const std::vector<std::int64_t>& lengths);

/// - mean over the steps with a link of sum_s l_ts log(a_ts + 1e-7),   l_t = link_t / sum_s link_ts
/// The cross-entropy between a given alignment and the weights (Chen et al. 2016, Guided Alignment
/// Training for Topic-Aware Neural Machine Translation). Steps without a link are ignored, whatever
/// their weights; without any link the loss is 0. The term 1e-7 keeps the loss of a weight 0
/// finite. weights: (B, T, S)  links: (B, T, S), >= 0, treated as constants  ->  ().   ShapeError.
Tensor guided_alignment_loss(const Tensor& weights, const Tensor& links);

}  // namespace fovea::nn
