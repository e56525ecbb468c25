// Searching for a good output sequence, greedily or with a beam.
#pragma once

#include <fovea/core/tensor.h>

#include <functional>
#include <vector>

namespace fovea::nn {

struct BeamOptions {
  std::int64_t beam = 5;          ///< K hypotheses of each sentence; 1 is greedy search
  std::int64_t max_length = 100;  ///< tokens at most, the end token not counted; then it must end
  double length_penalty =
      1.0;                  ///< alpha: scores are divided by length^alpha (the end token counts)
  std::int64_t n_best = 1;  ///< hypotheses to give back, at most K
  std::vector<std::int64_t> max_lengths = {};  ///< max_length of each sentence; empty: the same
  std::int64_t min_rows = 1;  ///< hypotheses in the model's batch below which no sentence leaves it
  std::int64_t bos = 2, eos = 3;
};

struct Hypothesis {
  std::vector<std::int64_t> tokens;  ///< without <bos> and <eos>
  double log_prob = 0;               ///< sum over the tokens and <eos>
  double score = 0;                  ///< log_prob / length^alpha
};

/// One step of the model being searched. ids: i64 (B K), the last token of each hypothesis,
/// sentence by sentence; state: tensors whose first axis is the hypotheses, replaced by the step;
/// gives logits (B K, V).
using DecodeStep = std::function<Tensor(const Tensor& ids, std::vector<Tensor>& state)>;

/// Beam search over a batch of B sentences, the best hypotheses first. A sentence is done when K
/// hypotheses have ended, or when no open one can still beat the n_best among them. Ties go to the
/// better hypothesis before, then to the smaller token, so the result is reproducible.
/// state: first axis B (one hypothesis a sentence); the search repeats it K times.
/// Length normalisation: Wu et al. 2016, Google's Neural Machine Translation System, section 7,
/// with length^alpha. ValueError for options out of range (beam, lengths and min_rows end at 2^30;
/// alpha is finite), for more hypotheses than memory holds and for logits that are all NaN;
/// ShapeError.
std::vector<std::vector<Hypothesis>> beam_search(const DecodeStep& step, std::vector<Tensor> state,
                                                 std::int64_t B, const BeamOptions& options);

/// A model made ready for a search: its step, and the state before the first.
struct DecodeStart {
  DecodeStep step;
  std::vector<Tensor> state;  ///< first axis B
  /// From now on the model has these sentences of those it had, in this order, and a step is given
  /// theirs alone. Empty: it must keep them all.
  std::function<void(const std::vector<std::int64_t>& sentences)> keep = {};
};

/// The same, and sentences that are done leave the model's batch from time to time: a long search
/// costs as much as its own steps, whatever was in the batch.
std::vector<std::vector<Hypothesis>> beam_search(const DecodeStart& start, std::int64_t B,
                                                 const BeamOptions& options);

/// Several models searched as one, whose probability of a token is the mean of theirs:
///   logits = log(1/M sum_m softmax(logits_m))
/// Its state is the members' states one after the other. One member alone stays as it is. It can
/// keep some sentences where all members can.
/// ValueError for no member; ShapeError where they do not know the same number of tokens;
/// StateError for a state of another number of tensors, given to the step or by a member.
DecodeStart ensemble(std::vector<DecodeStart> members);

/// log(1/M sum_m softmax(logits_m)) of M models' logits, all (..., V); one alone stays as it is.
Tensor mean_prediction(const std::vector<Tensor>& logits);

}  // namespace fovea::nn
