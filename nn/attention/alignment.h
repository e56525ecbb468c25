// Losses of where a decoder looks.
//
// B batch, T steps of the decoder, S source words.
#pragma once

#include <fovea/core/tensor.h>

#include <vector>

namespace fovea::nn {

/// mean over the real steps of sum_s min(a_ts, m_ts),   m_t = sum_{u < t} a_u
/// What is looked at again costs (See et al. 2017, Get To The Point, section 2.3, equation 12); 0
/// if every word is looked at once. Over no step it is 0. weights: (B, T, S), anything behind a
/// target's end  lengths: of the targets, B, each at most T  ->  ().   ShapeError.
Tensor coverage_loss(const Tensor& weights, const std::vector<std::int64_t>& lengths);

/// - mean over the linked steps of sum_s l_ts log(a_ts + 1e-7),   l_t = link_t / sum_s link_ts
/// The cross-entropy between a given alignment and the weights (Chen et al. 2016, Guided Alignment
/// Training for Topic-Aware Neural Machine Translation); steps without a link do not count,
/// whatever their weights, and over none it is 0. The small number keeps a weight of 0 finite.
/// weights: (B, T, S)  links: (B, T, S), >= 0 and without gradient  ->  ().   ShapeError.
Tensor guided_alignment_loss(const Tensor& weights, const Tensor& links);

}  // namespace fovea::nn
