#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/nn/init.h>
#include <fovea/nn/recurrent.h>

namespace fovea::nn {
RecurrentLayers::RecurrentLayers(const RecurrentOptions& options, std::int64_t gates, Rng& rng)
    : options_(options), dropout_(options.dropout, rng) {
  const std::int64_t H = options.hidden_size;
  for (std::int64_t i = 0; i < options.num_layers * directions(); ++i) {
    const std::int64_t in = i < directions() ? options.input_size : H * directions();
    Direction d;
    d.weight_ih = init::uniform_parameter({gates * H, in}, H, rng);
    d.weight_hh = init::uniform_parameter({gates * H, H}, H, rng);
    if (options.bias) {
      d.bias_ih = init::uniform_parameter({gates * H}, H, rng);
      d.bias_hh = init::uniform_parameter({gates * H}, H, rng);
    }
    weights_.push_back(std::move(d));
  }
}

void RecurrentLayers::check_initial(const char* net, const Tensor& initial, std::int64_t B) const {
  const Shape expected{options_.num_layers * directions(), B, options_.hidden_size};
  if (initial.defined() && !(initial.shape() == expected))
    shape_error(net, "initial state {}: it must be (layers * directions, B, H) = {}",
                initial.shape().str(), expected.str());
}

Ragged RecurrentLayers::run(const Ragged& x, const Run& layer) const {
  Tensor seen = x.values;  // (N, I), then (N, D H)
  for (std::int64_t l = 0; l < options_.num_layers; ++l) {
    if (l > 0) seen = dropout_(seen);
    std::vector<Tensor> sides;
    for (std::int64_t d = 0; d < directions(); ++d) {
      const std::int64_t at = l * directions() + d;
      const Direction& w = weights_[static_cast<std::size_t>(at)];
      // What the input contributes, for all steps at once.
      sides.push_back(layer(at, w, linear(seen, w.weight_ih, w.bias_ih), d == 1));  // (N, H)
    }
    seen = sides.size() == 1 ? sides[0] : concat(sides, 1);
  }
  return {seen, x.index};
}

void RecurrentLayers::visit(Visitor& v) {
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

GRU::Output GRU::operator()(const Ragged& x, const Tensor& initial) const {
  const Scope in(*this);
  check_initial("GRU", initial, x.index.batch_size());
  std::vector<Tensor> last;
  Ragged states =
      run(x, [&](std::int64_t at, const Direction& w, const Tensor& gates, bool reverse) {
        const Tensor h0 = initial.defined() ? select(initial, 0, at) : Tensor();
        RecurrentOutput out = gru({gates, w.weight_hh, w.bias_hh, h0}, x.index, reverse);
        last.push_back(std::move(out.last));
        return out.states;
      });
  return {std::move(states), stack(last, 0)};
}

LSTM::Output LSTM::operator()(const Ragged& x, const Tensor& initial,
                              const Tensor& initial_cell) const {
  const Scope in(*this);
  check_initial("LSTM", initial, x.index.batch_size());
  check_initial("LSTM", initial_cell, x.index.batch_size());
  std::vector<Tensor> last, last_cell;
  Ragged states =
      run(x, [&](std::int64_t at, const Direction& w, const Tensor& gates, bool reverse) {
        const Tensor h0 = initial.defined() ? select(initial, 0, at) : Tensor();
        const Tensor c0 = initial_cell.defined() ? select(initial_cell, 0, at) : Tensor();
        LstmOutput out = lstm({gates, w.weight_hh, w.bias_hh, h0, c0}, x.index, reverse);
        last.push_back(std::move(out.last));
        last_cell.push_back(std::move(out.last_cell));
        return out.states;
      });
  return {std::move(states), stack(last, 0), stack(last_cell, 0)};
}

GRUCell::GRUCell(GRUCellOptions options, Rng& rng) {
  const std::int64_t H = options.hidden_size;
  weight_ih = init::uniform_parameter({3 * H, options.input_size}, H, rng);
  weight_hh = init::uniform_parameter({3 * H, H}, H, rng);
  bias_ih = init::uniform_parameter({3 * H}, H, rng);
  bias_hh = init::uniform_parameter({3 * H}, H, rng);
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
