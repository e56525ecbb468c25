// Greedy search and beam search for the output sequence.
#pragma once

#include <fovea/core/tensor.h>

#include <functional>
#include <vector>

namespace fovea::nn {

struct BeamOptions {
  std::int64_t beam = 5;          ///< K hypotheses per sentence; 1 is greedy search
  std::int64_t max_length = 100;  ///< maximum number of tokens, without <eos>, which is then forced
  double length_penalty = 1.0;    ///< alpha: scores are divided by length^alpha (<eos> counts)
  std::int64_t n_best = 1;        ///< hypotheses to return, at most K
  std::vector<std::int64_t> max_lengths = {};  ///< max_length of each sentence; empty: the same
  std::int64_t min_rows = 1;  ///< no sentence is removed from a batch of fewer hypotheses
  std::int64_t bos = 2, eos = 3;
};

struct Hypothesis {
  std::vector<std::int64_t> tokens;  ///< without <bos> and <eos>
  double log_prob = 0;               ///< sum over the tokens and <eos>
  double score = 0;                  ///< log_prob / length^alpha
};

/// One step of the model. ids: i64 (B K), the last token of each hypothesis, sentence by sentence;
/// state: tensors whose first axis is the hypotheses, updated by the step; returns logits (B K, V).
using DecodeStep = std::function<Tensor(const Tensor& ids, std::vector<Tensor>& state)>;

/// Beam search over a batch of B sentences; returns the best hypotheses first. A sentence is done
/// when K hypotheses have ended, or when no open one can still beat the n_best of them. Ties go to
/// the hypothesis with the better previous score, then to the smaller token: results are
/// reproducible.
/// state: first axis B (one hypothesis per sentence); the search repeats it K times.
/// Length normalization: Wu et al. 2016, Google's Neural Machine Translation System, section 7,
/// with length^alpha. ValueError for options out of range (beam, lengths and min_rows are at most
/// 2^30; alpha must be finite), for more hypotheses than fit into memory and for logits that are
/// all NaN; ShapeError.
std::vector<std::vector<Hypothesis>> beam_search(const DecodeStep& step, std::vector<Tensor> state,
                                                 std::int64_t B, const BeamOptions& options);

/// A model prepared for a search: its step, and the state before the first step.
struct DecodeStart {
  DecodeStep step;
  std::vector<Tensor> state;  ///< first axis B
  /// Reduces the model's batch to these of its sentences, in this order; later steps get only
  /// these. Empty if the model does not support it: all sentences stay in the batch.
  std::function<void(const std::vector<std::int64_t>& sentences)> keep = {};
};

/// The same, but finished sentences are removed from the model's batch from time to time, so that
/// the last long sentences do not pay for the finished ones.
std::vector<std::vector<Hypothesis>> beam_search(const DecodeStart& start, std::int64_t B,
                                                 const BeamOptions& options);

/// An ensemble of M models, whose probability of a token is the mean of the members' probabilities:
///   logits = log(1/M sum_m softmax(logits_m))
/// Its state is the concatenated list of the members' states. A single member is returned
/// unchanged. It has `keep` if all members do. ValueError without members; ShapeError if their
/// vocabularies have different sizes; StateError for a state with another number of tensors, given
/// to the step or returned by a member.
DecodeStart ensemble(std::vector<DecodeStart> members);

/// log(1/M sum_m softmax(logits_m)) of the logits of M models, all (..., V); unchanged for M = 1.
Tensor mean_prediction(const std::vector<Tensor>& logits);

}  // namespace fovea::nn
