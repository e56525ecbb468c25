#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/nn/init.h>
#include <fovea/nn/recurrent.h>

#include <cmath>

namespace fovea::nn {
namespace {

Tensor uniform_parameter(const Shape& shape, double bound, Rng& rng) {
  Tensor w = empty(shape);
  init::uniform(w, -bound, bound, rng);
  w.set_requires_grad();
  return w;
}

}  // namespace

GRU::GRU(GRUOptions options, Rng& rng) : options_(options), dropout_(options.dropout, rng) {
  const std::int64_t H = options.hidden_size;
  const double bound = 1.0 / std::sqrt(static_cast<double>(H));
  for (std::int64_t i = 0; i < options.num_layers * directions(); ++i) {
    const std::int64_t in = i < directions() ? options.input_size : H * directions();
    Direction d;
    d.weight_ih = uniform_parameter({3 * H, in}, bound, rng);
    d.weight_hh = uniform_parameter({3 * H, H}, bound, rng);
    if (options.bias) {
      d.bias_ih = uniform_parameter({3 * H}, bound, rng);
      d.bias_hh = uniform_parameter({3 * H}, bound, rng);
    }
    weights_.push_back(std::move(d));
  }
}

GRU::Output GRU::operator()(const Ragged& x, const Tensor& initial) const {
  const Scope in(*this);
  const std::int64_t B = x.index.batch_size(), H = options_.hidden_size, D = directions();
  const Shape states_shape{options_.num_layers * D, B, H};
  if (initial.defined() && !(initial.shape() == states_shape))
    shape_error("GRU", "initial state {}: it must be (layers * directions, B, H) = {}",
                initial.shape().str(), states_shape.str());
  Tensor layer = x.values;  // (N, I), then (N, D H)
  std::vector<Tensor> last;
  for (std::int64_t l = 0; l < options_.num_layers; ++l) {
    if (l > 0) layer = dropout_(layer);
    std::vector<Tensor> sides;
    for (std::int64_t d = 0; d < D; ++d) {
      const std::int64_t at = l * D + d;
      const Direction& w = weights_[static_cast<std::size_t>(at)];
      const Tensor gates = linear(layer, w.weight_ih, w.bias_ih);  // (N, 3H), all steps at once
      const Tensor h0 = initial.defined() ? select(initial, 0, at) : Tensor();
      RecurrentOutput out = gru({gates, w.weight_hh, w.bias_hh, h0}, x.index, d == 1);
      sides.push_back(std::move(out.states));
      last.push_back(std::move(out.last));
    }
    layer = D == 1 ? sides[0] : concat(sides, 1);
  }
  return {{layer, x.index}, stack(last, 0)};
}

void GRU::visit(Visitor& v) {
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const auto D = static_cast<std::size_t>(directions());
    const std::string suffix = "_l" + std::to_string(i / D) + (i % D == 1 ? "_reverse" : "");
    v("weight_ih" + suffix, weights_[i].weight_ih);
    v("weight_hh" + suffix, weights_[i].weight_hh);
    v("bias_ih" + suffix, weights_[i].bias_ih);
    v("bias_hh" + suffix, weights_[i].bias_hh);
  }
  v("dropout", dropout_);
}

GRUCell::GRUCell(GRUCellOptions options, Rng& rng) {
  const std::int64_t H = options.hidden_size;
  const double bound = 1.0 / std::sqrt(static_cast<double>(H));
  weight_ih = uniform_parameter({3 * H, options.input_size}, bound, rng);
  weight_hh = uniform_parameter({3 * H, H}, bound, rng);
  bias_ih = uniform_parameter({3 * H}, bound, rng);
  bias_hh = uniform_parameter({3 * H}, bound, rng);
}

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h) const {
  const Scope in(*this);
  return step(linear(x, weight_ih, bias_ih), h);
}

Tensor GRUCell::step(const Tensor& input_gates, const Tensor& h) const {
  const Scope in(*this);
  const RaggedIndex one_step = RaggedIndex::equal(h.dim(0), 1);
  return gru({input_gates, weight_hh, bias_hh, h}, one_step).last;
}

void GRUCell::visit(Visitor& v) {
  v("weight_ih", weight_ih);
  v("weight_hh", weight_hh);
  v("bias_ih", bias_ih);
  v("bias_hh", bias_hh);
}

}  // namespace fovea::nn
