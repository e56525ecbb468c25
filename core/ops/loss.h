// Losses, with PyTorch's names and semantics. V classes, N.. any leading axes.
//
// Classes are on the last axis: logits (N.., V) with targets (N..), where PyTorch has (N, V, d..)
// with (N, d..). Logits (B, V, T) from PyTorch need transpose(logits, 1, 2) first. Without it the
// shapes do not match and the op throws, except where V = T: then the shapes are valid and the loss
// is taken over the wrong axis.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

// Special values. 0 times infinity is 0: an element with probability or weight 0 adds nothing to
// the value and to the gradient. Per loss:
//   cross_entropy, nll_loss   classes with logit -inf add nothing; as target (or with smoothing)
//   inf.
//                             A row of only -inf, or with inf or NaN, is NaN
//   bce_with_logits           at +-inf 0 or inf, gradient s - t
//   kl_div                    0 where both probabilities are 0; inf where only the input's is
//   mse, l1, smooth_l1        inf for one infinite operand, NaN for two that are equal

/// How the losses of single rows or elements are combined. batchmean: the sum divided by the size
/// of the first axis (kl_div only).
enum class Reduction { none, mean, sum, batchmean };

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;  ///< rows with this target are ignored
  double label_smoothing = 0;        ///< e: share of the target spread evenly over all classes
  Tensor weight = {};                ///< (V) weight of each class; a constant, gets no gradient
  Reduction reduction = Reduction::mean;
};

/// -log softmax(logits)[target], with smoothing e and class weights w (lse = log sum exp(logits)):
///   loss = (1 - e) w_t (lse - x_t) + e / V sum_c w_c (lse - x_c)        per row
/// mean divides by the sum of the targets' weights. If all targets are ignored it is 0 (PyTorch:
/// NaN).
///   logits: (N.., V), classes last   targets: (N..) i64   ->   () or, with Reduction::none, (N..)
/// Szegedy et al.: Rethinking the Inception Architecture, CVPR 2016, section 7 (smoothing).
Tensor cross_entropy(const Tensor& logits, const Tensor& targets,
                     const CrossEntropyOptions& options = {});
/// Reference: -sum q log softmax(x), with the distribution q that the targets and smoothing define.
Tensor cross_entropy_reference(const Tensor& logits, const Tensor& targets,
                               const CrossEntropyOptions& options = {});

struct NllOptions {
  std::int64_t ignore_index = -100;
  Tensor weight = {};
  Reduction reduction = Reduction::mean;
};

/// -w_t log_probs[target], reduced as in cross_entropy.
///   log_probs: (N.., V)   targets: (N..) i64   ->   () or (N..)
Tensor nll_loss(const Tensor& log_probs, const Tensor& targets, const NllOptions& options = {});

// Elementwise losses: input and target have the same shape (no broadcasting: (N, 1) against (N) is
// nearly always a mistake).

/// (input - target)^2
Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean);

/// |input - target|
Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean);

/// With d = |input - target|:  d^2 / (2 beta) for d < beta, else d - beta / 2. beta >= 0.
/// Girshick: Fast R-CNN, ICCV 2015, equation 3 (beta = 1).
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta = 1.0,
                      Reduction reduction = Reduction::mean);

struct BceOptions {
  Tensor weight = {};      ///< per element; broadcast to the input
  Tensor pos_weight = {};  ///< of positive targets, (V); broadcast to the input
  Reduction reduction = Reduction::mean;
};

/// With t = target, s = sigmoid(input):  -(pos_weight t log s + (1 - t) log(1 - s))
Tensor bce_with_logits(const Tensor& input, const Tensor& target, const BceOptions& options = {});

struct KlDivOptions {
  bool log_target = false;  ///< the target holds log-probabilities, like the input
  Reduction reduction = Reduction::mean;
};

/// target (log target - input), with 0 log 0 = 0.      input: log-probabilities
Tensor kl_div(const Tensor& input, const Tensor& target, const KlDivOptions& options = {});

}  // namespace fovea
