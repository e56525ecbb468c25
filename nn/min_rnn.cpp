#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/min_rnn.h>

namespace fovea::nn {
namespace {

// Positive everywhere, and x + 1/2 for x >= 0, where the gradient does not vanish.
Tensor g(const Tensor& x) { return where(ge(x, 0.0), x + 0.5, sigmoid(x)); }

void check(const char* net, const MinRecurrentOptions& o) {
  check_sizes(net, {{"input_size", o.input_size}, {"hidden_size", o.hidden_size}});
  checked_range(net, "num_layers", o.num_layers, 1, kMaxLayers);
  if (!(o.dropout >= 0 && o.dropout <= 1))
    value_error(net, "dropout = {}: must be in [0, 1]", o.dropout);
}

}  // namespace

MinRecurrentLayers::MinRecurrentLayers(const char* net, const MinRecurrentOptions& options,
                                       std::int64_t gates, Rng& rng)
    : net_(net), options_(options), dropout_(options.dropout, rng) {
  check(net, options);
  const std::int64_t H = options.hidden_size;
  for (std::int64_t i = 0; i < options.num_layers * directions(); ++i) {
    const std::int64_t in = i < directions() ? options.input_size : H * directions();
    Direction d;
    d.weight_ih = init::uniform_parameter({gates * H, in}, in, rng);
    if (options.bias) d.bias_ih = init::uniform_parameter({gates * H}, in, rng);
    weights_.push_back(std::move(d));
  }
}

void MinRecurrentLayers::check_initial(const Tensor& initial, std::int64_t B) const {
  const Shape expected{options_.num_layers * directions(), B, options_.hidden_size};
  if (initial.defined() && !(initial.shape() == expected))
    shape_error(net_, "initial state {}: must be (layers * directions, B, H) = {}",
                initial.shape().str(), expected.str());
}

MinRecurrentLayers::Output MinRecurrentLayers::operator()(const Ragged& x,
                                                          const Tensor& initial) const {
  const Scope in(*this);
  check_initial(initial, x.index.batch_size());
  Tensor hidden = x.values;  // (N, I), then (N, D H)
  std::vector<Tensor> last;
  for (std::int64_t l = 0; l < options_.num_layers; ++l) {
    if (l > 0) hidden = dropout_(hidden);
    std::vector<Tensor> sides;
    for (std::int64_t d = 0; d < directions(); ++d) {
      const std::int64_t at = l * directions() + d;
      const Direction& w = weights_[static_cast<std::size_t>(at)];
      const auto [a, b] = coefficients(linear(hidden, w.weight_ih, w.bias_ih));
      const Tensor h0 = initial.defined() ? select(initial, 0, at) : Tensor();
      ScanOutput out = linear_recurrence(a, b, h0, x.index, d == 1);
      sides.push_back(std::move(out.states));  // (N, H)
      last.push_back(std::move(out.last));     // (B, H)
    }
    hidden = sides.size() == 1 ? sides[0] : concat(sides, 1);
  }
  return {{hidden, x.index}, stack(last, 0)};
}

MinRecurrentLayers::Step MinRecurrentLayers::step(const Tensor& x, const Tensor& state) const {
  const Scope in(*this);
  if (options_.bidirectional) value_error(net_, "step: not supported by a bidirectional net");
  Output out = (*this)({x, RaggedIndex::equal(x.dim(0), 1)}, state);
  return {std::move(out.states.values), std::move(out.last)};
}

void MinRecurrentLayers::visit(Visitor& v) {
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const auto D = static_cast<std::size_t>(directions());
    const std::string suffix = "_l" + std::to_string(i / D) + (i % D == 1 ? "_reverse" : "");
    v("weight_ih" + suffix, weights_[i].weight_ih);
    v("bias_ih" + suffix, weights_[i].bias_ih);
  }
  v("dropout", dropout_);
}

MinGRU::Coefficients MinGRU::coefficients(const Tensor& gates) const {
  const std::vector<Tensor> gate = chunk(gates, 2, 1);
  const Tensor z = sigmoid(gate[0]);  // (N, H)
  return {1.0 - z, z * g(gate[1])};
}

// f / (f + i) = sigmoid(log f - log i), and -log sigmoid(x) = softplus(-x): no 0 / 0 if both gates
// are 0.
MinLSTM::Coefficients MinLSTM::coefficients(const Tensor& gates) const {
  const std::vector<Tensor> gate = chunk(gates, 3, 1);
  const Tensor difference = softplus(-gate[1]) - softplus(-gate[0]);  // log f - log i: (N, H)
  return {sigmoid(difference), sigmoid(-difference) * g(gate[2])};
}

}  // namespace fovea::nn
