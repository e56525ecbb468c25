#include <fovea/core/ops/loss.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "special_values.h"

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// 0 times infinity is 0: terms of weight 0 do not count.
Real weighed(Real w, Real x) { return w == 0 ? 0 : w * x; }

// ---- Losses of classes: rows of logits, the target is class 1 ----------------------------------

constexpr std::size_t kClasses = 7;

Tensor targets_of(const Tensor& logits) { return full({logits.dim(0)}, 1, DType::i64); }

CrossEntropyOptions options_of(double smoothing, const std::vector<double>& weight, DType dtype) {
  CrossEntropyOptions o{.label_smoothing = smoothing, .reduction = Reduction::none};
  if (!weight.empty()) o.weight = from_data(weight, {7}).to(dtype);
  return o;
}

SpecialCase cross_entropy_case(double smoothing, const std::vector<double>& weight,
                               const std::vector<Reals>& logits) {
  SpecialCase c;
  c.op = "cross_entropy";
  c.f = [=](const Inputs& in) {
    return cross_entropy(in[0], targets_of(in[0]), options_of(smoothing, weight, in[0].dtype()));
  };
  c.reference = [=](const Inputs& in) {
    return cross_entropy_reference(in[0], targets_of(in[0]),
                                   options_of(smoothing, weight, in[0].dtype()));
  };
  c.expected = [=](const std::vector<Reals>& in, const Reals& dy, Real eps) {
    const Reals& x = in[0];
    const Real top = *std::max_element(x.begin(), x.end()), n = static_cast<Real>(x.size());
    Real total = 0, loss = 0, mass = 0, size = 0;
    for (const Real v : x) total += std::exp(v - top);
    Reals q;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Real w = weight.empty() ? 1 : Real{weight[i]};
      q.push_back(w * (smoothing / n + (i == 1 ? 1 - Real{smoothing} : 0)));
      const Real term = weighed(q[i], std::log(total) - (x[i] - top));
      loss += term;
      mass += q[i];
      if (std::isfinite(term)) size += std::abs(term);
    }
    // Up to logits of 1024 the gradient is computed from a rounded log-sum-exp.
    const Real scale = std::min<Real>(1024, std::abs(top));
    Expected e{{loss}, {16 * eps * (size + mass * (1 + scale))}, {{}}, {}};
    for (std::size_t i = 0; i < x.size(); ++i)
      e.gradients[0].push_back(dy[0] * (mass * std::exp(x[i] - top) / total - q[i]));
    e.gradient_errors.push_back(Reals(x.size(), 16 * eps * (1 + scale) * mass * dy[0]));
    return e;
  };
  for (const Reals& x : logits) c.rows.push_back({x});
  return c;
}

std::vector<Reals> possible_logits() {
  return {Reals(kClasses, 0),
          Reals(kClasses, 33333.3L),
          Reals(kClasses, 1e20L),
          Reals(kClasses, -1e37L),
          {1, 2, 3, 4, 5, 6, 7},
          {1e6L, 1e6L + 1, 1e6L, 1e6L - 2, 0, 1e6L, 1e6L},
          {-1e20L, 1e20L, 0, 0, 1, 2, 3},
          {1e-40L, 1e-30L, 0, 0, 0, -1e-40L, 0}};
}
std::vector<Reals> impossible_classes() {
  std::vector<Reals> rows = possible_logits();
  rows.push_back({-kInf, 2, 3, 4, -kInf, 6, 7});
  rows.push_back({-kInf, 2, -kInf, -kInf, -kInf, -kInf, -kInf});
  return rows;
}
std::vector<Reals> impossible_target() {
  std::vector<Reals> rows = impossible_classes();
  rows.push_back({1, -kInf, 3, 4, 5, 6, 7});
  return rows;
}

const std::vector<double> kWeights{0, 2, 0.5, 1, 0, 3, 1}, kNoWeightOnTarget{1, 0, 1, 1, 1, 1, 1};
const bool classes_added =
    add_special_cases({cross_entropy_case(0, {}, impossible_target()),
                       cross_entropy_case(0, kWeights, impossible_target()),
                       cross_entropy_case(0, kNoWeightOnTarget, impossible_target()),
                       cross_entropy_case(0.25, {}, possible_logits()),
                       cross_entropy_case(0.25, kWeights, possible_logits()),
                       // Smoothing gives no probability to classes of weight 0: here -inf.
                       cross_entropy_case(0.25, kWeights, {{-kInf, 2, 3, 4, -kInf, 6, 7}}),
                       cross_entropy_case(1, {}, possible_logits())});

// ---- Losses of elements ------------------------------------------------------------------------

using Scalar2 = std::function<Real(Real, Real)>;

// Rows of one element; the gradient by the first input alone.
SpecialCase element_case(std::string op, std::function<Tensor(const Tensor&, const Tensor&)> f,
                         Scalar2 loss, Scalar2 by_input, const Reals& inputs,
                         const Reals& targets) {
  SpecialCase c;
  c.op = std::move(op);
  c.f = [f](const Inputs& in) { return f(in[0], in[1]); };
  c.expected = [=](const std::vector<Reals>& in, const Reals& dy, Real eps) {
    const Real x = in[0][0], t = in[1][0], y = loss(x, t), dx = dy[0] * by_input(x, t);
    const Real size = std::isfinite(x) && std::isfinite(t) ? std::abs(x) * (1 + std::abs(t)) : 0;
    return Expected{
        {y}, {16 * eps * (std::abs(y) + size)}, {{dx}}, {{16 * eps * (1 + std::abs(dx))}}};
  };
  for (const Real x : inputs)
    for (const Real t : targets) c.rows.push_back({{x}, {t}});
  return c;
}

Real softplus_of(Real x) { return x > 60 ? x : std::log1p(std::exp(x)); }
Real sigmoid_of(Real x) { return 1 / (1 + std::exp(-x)); }
Real entropy_of(Real p) { return p > 0 ? p * std::log(p) : 0; }

const Reals kLogits{0, 1, -2, 50, -200, 1e20L, -1e20L, 3e38L, -3e38L, 1e-40L, kInf, -kInf};
const Reals kLogProbabilities{0, -1e-30L, -0.5L, -100, -1e20L, -kInf};

const bool elements_added = add_special_cases({
    element_case(
        "bce_with_logits",
        [](const Tensor& x, const Tensor& t) {
          return bce_with_logits(x, t, {.reduction = Reduction::none});
        },
        [](Real x, Real t) { return weighed(t, softplus_of(-x)) + weighed(1 - t, softplus_of(x)); },
        [](Real x, Real t) { return sigmoid_of(x) - t; }, kLogits, {0, 1, 0.25L}),
    element_case(
        "bce_with_logits",
        [](const Tensor& x, const Tensor& t) {
          return bce_with_logits(x, t,
                                 {.weight = full({1, 1}, 0.5, x.dtype()),
                                  .pos_weight = full({1}, 3, x.dtype()),
                                  .reduction = Reduction::none});
        },
        [](Real x, Real t) {
          return 0.5L * (weighed(3 * t, softplus_of(-x)) + weighed(1 - t, softplus_of(x)));
        },
        [](Real x, Real t) { return 0.5L * ((1 - t) * sigmoid_of(x) - 3 * t * sigmoid_of(-x)); },
        {0, 1, -2, 50, -200, kInf, -kInf}, {0, 1, 0.25L}),
    element_case(
        "kl_div",
        [](const Tensor& x, const Tensor& t) {
          return kl_div(x, t, {.reduction = Reduction::none});
        },
        [](Real x, Real t) { return entropy_of(t) - weighed(t, x); },
        [](Real, Real t) { return -t; }, kLogProbabilities, {0, 1e-30L, 0.5L, 1}),
    element_case(
        "kl_div",
        [](const Tensor& x, const Tensor& t) {
          return kl_div(x, t, {.log_target = true, .reduction = Reduction::none});
        },
        [](Real x, Real t) { return weighed(std::exp(t), t == -kInf ? 0 : t - x); },
        [](Real, Real t) { return -std::exp(t); }, kLogProbabilities,
        {0, -0.5L, -50, -1e5L, -kInf}),
    element_case(
        "smooth_l1_loss",
        [](const Tensor& x, const Tensor& t) { return smooth_l1_loss(x, t, 1, Reduction::none); },
        [](Real x, Real t) {
          const Real d = std::abs(x - t);
          return d < 1 ? d * d / 2 : d - 0.5L;
        },
        [](Real x, Real t) { return std::clamp<Real>(x - t, -1, 1); },
        {0, 0.5L, -3, 1e20L, -3e38L, kInf, -kInf}, {0, 1, -1e20L}),
});

}  // namespace
}  // namespace fovea::test
