#include <fovea/core/autograd.h>
#include <fovea/core/kernels/loss.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>

#include <limits>

namespace fovea {
namespace {

// Reduces per-element losses. With weights (one per loss, already multiplied in) the mean is the
// weighted mean; if the weights sum to 0, it is 0.
Tensor reduced(std::string_view op, const Tensor& losses, Reduction reduction,
               const Tensor& weights = {}) {
  switch (reduction) {
    case Reduction::none:
      return losses;
    case Reduction::sum:
      return sum(losses);
    case Reduction::mean: {
      if (!weights.defined()) return mean(losses);
      const double total = sum(weights).item<double>();
      return sum(losses) * (total == 0 ? 0.0 : 1 / total);
    }
    case Reduction::batchmean:
      break;
  }
  value_error(op, "Reduction::batchmean: must be none, mean or sum, batchmean is for kl_div only");
}

// --- classification losses -----------------------------------------------------------------------

Shape without_last(const Shape& shape) { return {shape.begin(), shape.end() - 1}; }

void check_weight(std::string_view op, const Tensor& weight, const Tensor& x) {
  if (!weight.defined()) return;
  if (weight.rank() != 1 || weight.dim(0) != x.dim(-1))
    shape_error(op, "weight {} for {} classes: must have one element per class",
                weight.shape().str(), x.dim(-1));
  if (weight.dtype() != x.dtype())
    dtype_error(op, "input is {}, weight is {}: dtypes must be equal", name_of(x.dtype()),
                name_of(weight.dtype()));
}

// Suggests the likely cause if the classes are on axis 1, as in PyTorch: (N, V, d..).
[[noreturn]] void wrong_targets(std::string_view op, const Tensor& x, const Tensor& targets) {
  const bool on_axis_1 =
      x.rank() > 2 && targets.rank() == x.rank() - 1 && targets.dim(0) == x.dim(0) &&
      std::equal(targets.shape().begin() + 1, targets.shape().end(), x.shape().begin() + 2);
  shape_error(op, "input {} and targets {}: must be (N.., V) and (N..){}", x.shape().str(),
              targets.shape().str(),
              on_axis_1 ? "; if the classes are on axis 1, as in PyTorch's (N, V, d..), move them "
                          "to the last axis"
                        : "");
}

// Targets are (N..) i64 for an input (N.., V), each below V or equal to ignore_index.
void check_targets(std::string_view op, const Tensor& x, const Tensor& targets,
                   std::int64_t ignore_index) {
  check_defined(op, "input", x, "targets", targets);
  if (x.rank() == 0) shape_error(op, "input (): its last axis must hold the classes");
  if (!(targets.shape() == without_last(x.shape()))) wrong_targets(op, x, targets);
  if (!is_floating(x.dtype())) dtype_error(op, "needs f32 or f64, and got {}", name_of(x.dtype()));
  if (targets.dtype() != DType::i64)
    dtype_error(op, "targets are {}: must be i64", name_of(targets.dtype()));
  const std::int64_t V = x.dim(-1);
  const Tensor dense = targets.contiguous();
  const std::int64_t* target = dense.data<std::int64_t>();
  for (std::int64_t row = 0; row < dense.numel(); ++row)
    if (target[row] != ignore_index && (target[row] < 0 || target[row] >= V))
      index_error(op, "target {} in row {}: must be in [0, {})", target[row], row, V);
}

// Targets as used by the plain-op formulas.      each (N..)
struct TargetRows {
  Tensor counted;  // bool: not ignored
  Tensor classes;  // the class; 0 (arbitrary) if ignored
  Tensor weights;  // the class's weight; 0 if ignored
};
TargetRows read_targets(const Tensor& targets, std::int64_t ignore_index, const Tensor& weight,
                        DType dtype) {
  const NoGrad guard;
  TargetRows rows;
  rows.counted = ne(targets, from_data(std::vector<std::int64_t>{ignore_index}, {}));
  rows.classes = where(rows.counted, targets, 0.0);
  rows.weights = rows.counted.to(dtype);
  if (weight.defined())
    rows.weights = rows.weights * squeeze(embedding(unsqueeze(weight, -1), rows.classes), -1);
  return rows;
}

// q: the target distribution times the weights.
//   q_c = (1 - e) w_t [c = t] + e / V w_c, and all 0 for an ignored row      (N.., V)
Tensor target_distribution(const Tensor& x, const Tensor& targets,
                           const CrossEntropyOptions& options) {
  const NoGrad guard;
  const double V = static_cast<double>(x.dim(-1)), e = options.label_smoothing;
  const TargetRows rows = read_targets(targets, options.ignore_index, options.weight, x.dtype());
  const Tensor on_target =
      unsqueeze(rows.weights, -1) * one_hot(rows.classes, x.dim(-1), x.dtype());
  const Tensor each = options.weight.defined() ? options.weight : ones({x.dim(-1)}, x.dtype());
  return (1 - e) * on_target + (e / V) * (unsqueeze(rows.counted.to(x.dtype()), -1) * each);
}

template <class T>
kernels::CrossEntropy<T> spec_of(const Tensor& x, const CrossEntropyOptions& options) {
  return {.V = x.dim(-1),
          .ignore_index = options.ignore_index,
          .smoothing = static_cast<T>(options.label_smoothing),
          .weight = options.weight.defined() ? options.weight.data<T>() : nullptr};
}

// dx = dloss ((sum q) softmax(x) - q); in plain ops under create_graph.
Tensor cross_entropy_gradient(const Tensor& dloss, const Tensor& x, const Tensor& targets,
                              const Tensor& lse, const CrossEntropyOptions& options) {
  if (grad_enabled()) {
    const Tensor q = target_distribution(x, targets, options);
    return unsqueeze(dloss, -1) * (sum(q, -1, true) * softmax(x) - q);
  }
  Tensor dx = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "cross_entropy", [&]<class T>() {
    kernels::cross_entropy_backward(spec_of<T>(x, options), x.data<T>(),
                                    targets.data<std::int64_t>(), lse.data<T>(), dloss.data<T>(),
                                    targets.numel(), dx.mutable_data<T>());
  });
  return dx;
}

// The loss of each row. Saves the logits and one log-sum-exp per row, not the probabilities.
//   logits: (N.., V) dense   targets, result: (N..) dense
Tensor cross_entropy_rows(const Tensor& logits, const Tensor& targets,
                          const CrossEntropyOptions& options) {
  Tensor losses = empty(targets.shape(), logits.dtype()),
         lse = empty(targets.shape(), logits.dtype());
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    kernels::cross_entropy(spec_of<T>(logits, options), logits.data<T>(),
                           targets.data<std::int64_t>(), targets.numel(), losses.mutable_data<T>(),
                           lse.mutable_data<T>());
  });
  return record<"cross_entropy">(losses, {logits},
                                 [x = keep(logits), targets = keep(targets), lse, options](
                                     const Tensor& dloss, NeedsGrad) -> Grads {
                                   return cross_entropy_gradient(dloss, x, targets, lse, options);
                                 });
}

CrossEntropyOptions checked(const Tensor& logits, const Tensor& targets,
                            CrossEntropyOptions options) {
  check_targets("cross_entropy", logits, targets, options.ignore_index);
  check_weight("cross_entropy", options.weight, logits);
  const double e = options.label_smoothing;
  if (!(e >= 0 && e <= 1))
    value_error("cross_entropy", "label_smoothing = {}: must be in [0, 1]", e);
  if (options.weight.defined()) options.weight = without_graph(options.weight).contiguous();
  return options;
}

Tensor reduced(const Tensor& losses, const Tensor& targets, const CrossEntropyOptions& options) {
  const TargetRows rows =
      read_targets(targets, options.ignore_index, options.weight, losses.dtype());
  return reduced("cross_entropy", losses, options.reduction, rows.weights);
}

// --- elementwise losses --------------------------------------------------------------------------

void check_pair(std::string_view op, const Tensor& input, const Tensor& target) {
  check_defined(op, "input", input, "target", target);
  if (!(input.shape() == target.shape()))
    shape_error(op, "input {} and target {}: must have the same shape", input.shape().str(),
                target.shape().str());
  if (input.dtype() != target.dtype())
    dtype_error(op, "input is {}, target is {}: dtypes must be equal", name_of(input.dtype()),
                name_of(target.dtype()));
}

// A weight must be broadcastable to the input's shape.
void check_broadcastable(std::string_view op, std::string_view name, const Tensor& weight,
                         const Tensor& input) {
  if (weight.defined() && !(broadcast_shapes(op, input.shape(), weight.shape()) == input.shape()))
    shape_error(op, "input {} and {} {}: {} must broadcast to the input's shape",
                input.shape().str(), name, weight.shape().str(), name);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets,
                     const CrossEntropyOptions& given) {
  const CrossEntropyOptions options = checked(logits, targets, given);
  const Tensor losses = cross_entropy_rows(logits.contiguous(), targets.contiguous(), options);
  return reduced(losses, targets, options);
}

Tensor cross_entropy_reference(const Tensor& logits, const Tensor& targets,
                               const CrossEntropyOptions& given) {
  const CrossEntropyOptions options = checked(logits, targets, given);
  const Tensor q = target_distribution(logits, targets, options);
  const Tensor terms = where(eq(q, 0.0), 0.0, q * log_softmax(logits));  // 0 * -inf is 0
  const Tensor losses = -sum(terms, -1);
  return reduced(losses, targets, options);
}

// The gradient is that of gather: -w_t dloss at the target, 0 elsewhere.
Tensor nll_loss(const Tensor& log_probs, const Tensor& targets, const NllOptions& options) {
  check_targets("nll_loss", log_probs, targets, options.ignore_index);
  check_weight("nll_loss", options.weight, log_probs);
  const TargetRows rows =
      read_targets(targets, options.ignore_index, options.weight, log_probs.dtype());
  const Tensor picked = squeeze(gather(log_probs, -1, unsqueeze(rows.classes, -1)), -1);  // (N..)
  // 0 also if a class with weight 0 has log-probability -inf.
  const Tensor losses = where(eq(rows.weights, 0.0), 0.0, -rows.weights * picked);
  return reduced("nll_loss", losses, options.reduction, rows.weights);
}

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  check_pair("mse_loss", input, target);
  return reduced("mse_loss", square(input - target), reduction);
}

Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  check_pair("l1_loss", input, target);
  return reduced("l1_loss", abs(input - target), reduction);
}

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta, Reduction reduction) {
  check_pair("smooth_l1_loss", input, target);
  if (!(beta >= 0)) value_error("smooth_l1_loss", "beta = {}: must not be negative", beta);
  if (beta == 0) return l1_loss(input, target, reduction);
  const Tensor difference = input - target, d = abs(difference);
  const Tensor near = d < beta, near_part = where(near, difference, 0.0);
  const Tensor losses = where(near, (0.5 / beta) * square(near_part), d - 0.5 * beta);
  return reduced("smooth_l1_loss", losses, reduction);
}

// With log s = -softplus(-x) and log(1 - s) = -x - softplus(-x), and p = pos_weight:
//   loss = (1 - t) x + (1 + (p - 1) t) softplus(-x),   without overflow
namespace {

// pos_weight t softplus(-x) + (1 - t) softplus(x), each 0 if its factor is 0: for infinite x.
Tensor bce_by_halves(const Tensor& x, const Tensor& t, const Tensor& pos_weight) {
  const Tensor at_one = where(eq(t, 0.0), 0.0, softplus(-x));
  const Tensor at_zero = where(eq(t, 1.0), 0.0, softplus(x));
  const Tensor factor = pos_weight.defined() ? pos_weight * t : t;
  return where(eq(factor, 0.0), 0.0, factor * at_one) + (1.0 - t) * at_zero;
}

}  // namespace

Tensor bce_with_logits(const Tensor& input, const Tensor& target, const BceOptions& options) {
  check_pair("bce_with_logits", input, target);
  check_broadcastable("bce_with_logits", "weight", options.weight, input);
  check_broadcastable("bce_with_logits", "pos_weight", options.pos_weight, input);
  Tensor losses = softplus(-input);
  if (options.pos_weight.defined()) losses = losses * (1.0 + (options.pos_weight - 1.0) * target);
  losses = (1.0 - target) * input + losses;
  if (!detail::all_finite(losses)) losses = bce_by_halves(input, target, options.pos_weight);
  if (options.weight.defined()) {
    losses = losses * options.weight;
    if (!detail::all_finite(losses)) losses = where(eq(options.weight, 0.0), 0.0, losses);
  }
  return reduced("bce_with_logits", losses, options.reduction);
}

// log(where(target > 0, target, 1)) makes 0 log 0 = 0, and its gradient. If both probabilities are
// 0, logarithms of -inf are skipped as well: value and gradients are 0.
Tensor kl_div(const Tensor& input, const Tensor& target, const KlDivOptions& options) {
  check_pair("kl_div", input, target);
  const auto log_of = [](const Tensor& p) { return log(where(p > 0.0, p, 1.0)); };
  constexpr double minus_infinity = -std::numeric_limits<double>::infinity();
  Tensor losses;
  if (options.log_target) {
    const Tensor p = exp(target), zero = eq(p, 0.0);  // finite log targets may underflow too
    losses = p * (where(zero, 0.0, target) - where(zero, 0.0, input));
  } else {
    const Tensor both_zero = logical_and(eq(target, 0.0), eq(input, minus_infinity));
    losses = target * log_of(target) - target * where(both_zero, 0.0, input);
  }
  if (options.reduction != Reduction::batchmean)
    return reduced("kl_div", losses, options.reduction);
  if (input.rank() == 0) shape_error("kl_div", "input (): batchmean needs a batch axis");
  return sum(losses) * (1.0 / static_cast<double>(input.dim(0)));
}

}  // namespace fovea
