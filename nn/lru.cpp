#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/lru.h>

#include <cmath>

namespace fovea::nn {
namespace {

Tensor parameter(const std::vector<float>& values) {
  return from_data(values, {static_cast<std::int64_t>(values.size())}).set_requires_grad();
}

Tensor normal_parameter(const Shape& shape, double variance, Rng& rng) {
  Tensor w = empty(shape);
  init::normal(w, 0, std::sqrt(variance), rng);
  return w.set_requires_grad();
}

}  // namespace

// lambda uniform on the ring: |lambda|^2 is uniform between the squares of its radii (lemma 3.2).
// The random values exclude 0 and 1, where the logarithms are infinite.
LRU::LRU(const LRUOptions& options, Rng& rng) {
  check_sizes("LRU", {{"width", options.width}, {"state_size", options.state_size}});
  if (!(options.max_phase > 0))
    value_error("LRU", "max_phase = {}: must be above 0", options.max_phase);
  const double r_min = options.r_min, r_max = options.r_max;
  if (!(r_min >= 0 && r_min < r_max && r_max <= 1))
    value_error("LRU", "r_min = {}, r_max = {}: must satisfy 0 <= r_min < r_max <= 1", r_min,
                r_max);
  const std::int64_t H = options.state_size, width = options.width;
  std::vector<float> nu, theta, gamma;
  for (std::int64_t i = 0; i < H; ++i) {
    constexpr double edge = 1e-6;
    const double u1 = rng.uniform(edge, 1 - edge), u2 = rng.uniform(edge, 1 - edge);
    const double square = u1 * (r_max * r_max - r_min * r_min) + r_min * r_min;  // |lambda|^2
    nu.push_back(static_cast<float>(std::log(-0.5 * std::log(square))));
    theta.push_back(static_cast<float>(std::log(options.max_phase * u2)));
    gamma.push_back(static_cast<float>(0.5 * std::log(1 - square)));
  }
  nu_log = parameter(nu);
  theta_log = parameter(theta);
  gamma_log = parameter(gamma);
  const auto columns = static_cast<double>(width), states = static_cast<double>(H);
  B_re = normal_parameter({H, width}, 1 / (2 * columns), rng);
  B_im = normal_parameter({H, width}, 1 / (2 * columns), rng);
  C_re = normal_parameter({width, H}, 1 / states, rng);
  C_im = normal_parameter({width, H}, 1 / states, rng);
  D = normal_parameter({width}, 1, rng);
}

LRU::Output LRU::operator()(const Ragged& x, const Tensor& initial, bool reverse) const {
  const Scope in(*this);
  const Tensor lambda = polar(exp(-exp(nu_log)), exp(theta_log));  // (2H)
  const Tensor gamma = unsqueeze(exp(gamma_log), 1);               // (H, 1)
  const Tensor B = concat({gamma * B_re, gamma * B_im}, 0);        // (2H, C)
  ScanOutput h =
      complex_linear_recurrence(lambda, linear(x.values, B), initial, x.index, reverse);  // (N, 2H)
  const Tensor real_part = linear(h.states, concat({C_re, -C_im}, 1));                    // (N, C)
  return {{real_part + D * x.values, x.index}, std::move(h.last)};
}

void LRU::visit(Visitor& v) {
  v("nu_log", nu_log);
  v("theta_log", theta_log);
  v("gamma_log", gamma_log);
  v("B_re", B_re);
  v("B_im", B_im);
  v("C_re", C_re);
  v("C_im", C_im);
  v("D", D);
}

LRUBlock::LRUBlock(const LRUBlockOptions& options, Rng& rng)
    : norm(options.lru.width),
      lru(options.lru, rng),
      out({.in_features = options.lru.width, .out_features = 2 * options.lru.width}, rng),
      drop(options.dropout, rng) {
  if (options.bidirectional) lru_reverse.emplace(options.lru, rng);
}

LRUBlock::Output LRUBlock::operator()(const Ragged& x, const Tensor& initial) const {
  const Scope in(*this);
  const Shape expected{lru_reverse ? 2 : 1, x.index.batch_size(), 2 * lru.nu_log.dim(0)};
  if (initial.defined() && !(initial.shape() == expected))
    shape_error("LRUBlock", "initial state {}: must be (directions, B, 2H) = {}",
                initial.shape().str(), expected.str());
  const auto start = [&](std::int64_t d) {
    return initial.defined() ? select(initial, 0, d) : Tensor();
  };
  const Ragged normed{norm(x.values), x.index};
  auto [states, end] = lru(normed, start(0));
  std::vector<Tensor> last{end};
  if (lru_reverse) {
    const LRU::Output back = (*lru_reverse)(normed, start(1), /*reverse=*/true);
    states.values = states.values + back.outputs.values;
    last.push_back(back.last);
  }
  const std::vector<Tensor> gates = chunk(out(drop(gelu(states.values))), 2, 1);  // (N, C) each
  return {{x.values + drop(gates[0] * sigmoid(gates[1])), x.index}, stack(last, 0)};
}

LRUBlock::Step LRUBlock::step(const Tensor& x, const Tensor& state) const {
  const Scope in(*this);
  if (lru_reverse) value_error("LRUBlock", "step: not supported by a bidirectional block");
  Output y = (*this)({x, RaggedIndex::equal(x.dim(0), 1)}, state);
  return {std::move(y.outputs.values), std::move(y.last)};
}

void LRUBlock::visit(Visitor& v) {
  v("norm", norm);
  v("lru", lru);
  v("lru_reverse", lru_reverse);
  v("out", out);
  v("drop", drop);
}

}  // namespace fovea::nn
