#include <fovea/core/autograd.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/recurrent.h>

namespace fovea::nn {
namespace {

RecurrentKind rnn_kind(Nonlinearity f) {
  return f == Nonlinearity::relu ? RecurrentKind::rnn_relu : RecurrentKind::rnn_tanh;
}

void check_nonlinearity(const char* name, RecurrentKind kind, Nonlinearity f) {
  if (name_of(kind) != std::string_view("rnn") && f != Nonlinearity::tanh)
    value_error(name, "nonlinearity = relu: only supported by RNN");
}

void check_cell(const char* name, RecurrentKind kind, const RecurrentCellOptions& o) {
  check_sizes(name, {{"input_size", o.input_size}, {"hidden_size", o.hidden_size}});
  check_nonlinearity(name, kind, o.nonlinearity);
}

void check(const char* name, RecurrentKind kind, const RecurrentOptions& o) {
  const bool lstm = carries_cell(kind);
  check_sizes(name, {{"input_size", o.input_size}, {"hidden_size", o.hidden_size}});
  checked_range(name, "num_layers", o.num_layers, 1, kMaxLayers);
  const char* lstm_option = o.proj_size != 0      ? "proj_size"
                            : o.coupled_gates     ? "coupled_gates"
                            : o.cell_zoneout != 0 ? "cell_zoneout"
                            : o.forget_bias != 0  ? "forget_bias"
                                                  : nullptr;
  if (!lstm && lstm_option) value_error(name, "{}: only supported by LSTM", lstm_option);
  check_nonlinearity(name, kind, o.nonlinearity);
  if (o.proj_size < 0 || o.proj_size >= o.hidden_size)
    value_error(name, "proj_size = {}: must be 0 (none) or below hidden_size = {}", o.proj_size,
                o.hidden_size);
  for (const double p : {o.dropout, o.variational_dropout, o.zoneout, o.cell_zoneout})
    if (!(p >= 0 && p <= 1)) value_error(name, "probability = {}: must be in [0, 1]", p);
  if (o.forget_bias != 0 && !o.layer_norm && !o.bias)
    value_error(name, "forget_bias = {}: must be 0 without bias and layer_norm", o.forget_bias);
}

// One orthogonal matrix per gate, as the gates are independent of each other.
void init_orthogonal(Tensor& weight_hh, std::int64_t gates, Rng& rng) {
  for (std::int64_t g = 0; g < gates; ++g) {
    const std::int64_t rows = weight_hh.dim(0) / gates;
    Tensor part = empty({rows, weight_hh.dim(1)}, weight_hh.dtype());
    init::orthogonal(part, rng);
    const NoGrad guard;
    narrow(weight_hh, 0, g * rows, rows).copy_from(part);
  }
}

// One layer norm of all gates, but a separate one of the GRU's candidate, as on the hidden side.
Tensor normed_gates(RecurrentKind kind, const Tensor& raw, const Tensor& weight,
                    const Tensor& bias) {
  if (kind != RecurrentKind::gru) return layer_norm(raw, weight, bias);
  const std::int64_t H = raw.dim(1) / 3;
  const auto part = [&](std::int64_t from, std::int64_t n) {
    return layer_norm(narrow(raw, 1, from, n), narrow(weight, 0, from, n),
                      narrow(bias, 0, from, n));
  };
  return concat({part(0, 2 * H), part(2 * H, H)}, 1);
}

// Repeats row b for each position of sequence b.   (B, C) -> (N, C)
Tensor repeat_rows(const Tensor& x, const RaggedIndex& index) {
  std::vector<std::int64_t> rows;
  for (std::int64_t b = 0; b < index.batch_size(); ++b)
    rows.insert(rows.end(), static_cast<std::size_t>(index.length(b)), b);
  return index_select(x, 0, from_data(rows, {index.total()}));
}

Tensor select_or_undefined(const Tensor& x, std::int64_t at) {
  return x.defined() ? select(x, 0, at) : Tensor();
}

}  // namespace

RecurrentLayers::RecurrentLayers(const char* name, RecurrentKind kind,
                                 const RecurrentOptions& options, Rng& rng)
    : name_(name), kind_(kind), options_(options), rng_(&rng), dropout_(options.dropout, rng) {
  check(name, kind, options);
  for (std::int64_t i = 0; i < options.num_layers * directions(); ++i)
    weights_.push_back(
        make_direction(i < directions() ? options.input_size : state_size() * directions()));
}

RecurrentLayers::Direction RecurrentLayers::make_direction(std::int64_t inputs) const {
  const std::int64_t H = options_.hidden_size, G = gates_of(kind_);
  const auto uniform = [&](const Shape& shape) { return init::uniform_parameter(shape, H, *rng_); };
  const auto constant = [&](std::int64_t n, double value) {
    return full({n}, value).set_requires_grad();
  };
  Direction d;
  d.weight_ih = uniform({G * H, inputs});
  d.weight_hh = uniform({G * H, state_size()});
  if (options_.bias && !options_.layer_norm) {
    d.bias_ih = uniform({G * H});
    d.bias_hh = uniform({G * H});
  }
  if (options_.proj_size > 0) d.weight_hr = uniform({options_.proj_size, H});
  if (options_.layer_norm) {
    d.norm_ih_weight = constant(G * H, 1), d.norm_ih_bias = constant(G * H, 0);
    d.norm_hh_weight = constant(G * H, 1), d.norm_hh_bias = constant(G * H, 0);
    if (carries_cell(kind_)) d.norm_cell_weight = constant(H, 1), d.norm_cell_bias = constant(H, 0);
  }
  if (options_.orthogonal) init_orthogonal(d.weight_hh, G, *rng_);
  if (options_.forget_bias != 0) {
    const NoGrad guard;
    const Tensor& bias = options_.layer_norm ? d.norm_ih_bias : d.bias_ih;
    Tensor f = narrow(bias, 0, options_.coupled_gates ? 0 : H, H);
    f.copy_from(f + options_.forget_bias);
  }
  return d;
}

void RecurrentLayers::check_initial(const char* what, const Tensor& initial, std::int64_t size,
                                    std::int64_t B) const {
  const Shape expected{options_.num_layers * directions(), B, size};
  if (initial.defined() && !(initial.shape() == expected))
    shape_error(name_, "{} {}: must be (layers * directions, B, {}) = {}", what,
                initial.shape().str(), size == options_.hidden_size ? "H" : "P", expected.str());
}

void RecurrentLayers::check_input(const Ragged& x) const {
  const Shape expected{x.index.total(), options_.input_size};
  if (!(x.values.shape() == expected))
    shape_error(name_, "input {} for {} packed rows: must be (N, input_size) = {}",
                x.values.shape().str(), x.index.total(), expected.str());
}

// 0 with probability p, and 1 / (1 - p) otherwise.
Tensor RecurrentLayers::random_mask(const Shape& shape, double p, DType dtype) const {
  const NoGrad guard;
  return fovea::dropout(ones(shape, dtype), p, *rng_);
}

RecurrentDirection RecurrentLayers::direction_inputs(std::int64_t at, const Ragged& x,
                                                     const Tensor& initial,
                                                     const Tensor& initial_cell) const {
  const Direction& w = weights_[static_cast<std::size_t>(at)];
  const DType dtype = x.values.dtype();
  const std::int64_t N = x.index.total(), B = x.index.batch_size();
  RecurrentDirection d{.weight_ih = w.weight_ih,
                       .gates = {},
                       .weight_hh = w.weight_hh,
                       .bias_ih = w.bias_ih,
                       .bias_hh = w.bias_hh,
                       .weight_hr = w.weight_hr,
                       .norm_weight = w.norm_hh_weight,
                       .norm_bias = w.norm_hh_bias,
                       .cell_norm_weight = w.norm_cell_weight,
                       .cell_norm_bias = w.norm_cell_bias,
                       .initial = select_or_undefined(initial, at),
                       .initial_cell = select_or_undefined(initial_cell, at),
                       .hidden_mask = {},
                       .zoneout_shares = {},
                       .cell_zoneout_shares = {},
                       .reverse = at % directions() == 1};
  if (options_.layer_norm) {
    d.gates = normed_gates(kind_, linear(x.values, w.weight_ih), w.norm_ih_weight, w.norm_ih_bias);
    d.weight_ih = {};
  }
  if (!training()) return d;
  // 1 where the old value stays (the dropout mask is 0), else exactly 0 (the mask is at least 1).
  const auto old_shares = [&](double p, std::int64_t width) {
    return p > 0 ? 1.0 - clamp(random_mask({N, width}, p, dtype), 0, 1) : Tensor();
  };
  if (options_.variational_dropout > 0)
    d.hidden_mask = random_mask({B, state_size()}, options_.variational_dropout, dtype);
  d.zoneout_shares = old_shares(options_.zoneout, state_size());
  d.cell_zoneout_shares = old_shares(options_.cell_zoneout, options_.hidden_size);
  return d;
}

RecurrentOutput RecurrentLayers::run_layer(const Layer& layer, std::int64_t l, const Ragged& x,
                                           const Tensor& initial,
                                           const Tensor& initial_cell) const {
  std::vector<RecurrentDirection> parts;
  for (std::int64_t d = 0; d < directions(); ++d)
    parts.push_back(direction_inputs(l * directions() + d, x, initial, initial_cell));
  const Tensor input = options_.layer_norm ? Tensor() : x.values;  // else already in the gates
  return layer(input, parts, x.index,
               {.kind = kind_,
                .zoneout = options_.zoneout,
                .cell_zoneout = options_.cell_zoneout,
                .recompute = options_.recompute});
}

RecurrentLayers::Output RecurrentLayers::operator()(const Ragged& x, const Tensor& initial,
                                                    const Tensor& initial_cell) const {
  return forward(recurrent, x, initial, initial_cell);
}

RecurrentLayers::Output RecurrentLayers::forward(const Layer& layer, const Ragged& x,
                                                 const Tensor& initial,
                                                 const Tensor& initial_cell) const {
  const Scope in(*this);
  const std::int64_t B = x.index.batch_size();
  check_input(x);
  check_initial("initial state", initial, state_size(), B);
  if (initial_cell.defined() && !carries_cell(kind_))
    state_error(name_, "initial cell {}: only supported by LSTM", initial_cell.shape().str());
  check_initial("initial cell", initial_cell, options_.hidden_size, B);
  Ragged hidden = x;  // (N, I), then (N, D P)
  std::vector<Tensor> last, last_cell;
  for (std::int64_t l = 0; l < options_.num_layers; ++l) {
    if (l > 0) hidden.values = dropout_(hidden.values);
    if (training() && options_.variational_dropout > 0)
      hidden.values = hidden.values *
                      repeat_rows(random_mask({B, hidden.values.dim(1)},
                                              options_.variational_dropout, hidden.values.dtype()),
                                  hidden.index);
    RecurrentOutput out = run_layer(layer, l, hidden, initial, initial_cell);
    hidden.values = std::move(out.states);
    last.push_back(std::move(out.last));
    if (out.last_cell.defined()) last_cell.push_back(std::move(out.last_cell));
  }
  const auto concat_layers = [](const std::vector<Tensor>& layers) {
    return layers.empty() ? Tensor() : layers.size() == 1 ? layers[0] : concat(layers, 0);
  };
  return {std::move(hidden), concat_layers(last), concat_layers(last_cell)};
}

RecurrentLayers::PaddedOutput RecurrentLayers::operator()(const Tensor& x, const Tensor& initial,
                                                          const Tensor& initial_cell) const {
  const Scope in(*this);
  if (x.rank() != 3)
    shape_error(name_, "padded input {}: must be {}", x.shape().str(),
                options_.batch_first ? "(B, T, I)" : "(T, B, I)");
  const auto swap_axes = [&](const Tensor& y) {
    return options_.batch_first ? y : transpose(y, 0, 1);
  };
  const Tensor batch = swap_axes(x);  // (B, T, I)
  const std::int64_t B = batch.dim(0), T = batch.dim(1);
  const Tensor rows = reshape(batch, {B * T, batch.dim(2)});
  Output out = (*this)(Ragged{rows, RaggedIndex::equal(B, T)}, initial, initial_cell);
  const Tensor states = reshape(out.states.values, {B, T, out.states.values.dim(1)});
  return {swap_axes(states), std::move(out.last), std::move(out.last_cell)};
}

void RecurrentLayers::visit(Visitor& v) {
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const auto D = static_cast<std::size_t>(directions());
    const std::string suffix = "_l" + std::to_string(i / D) + (i % D == 1 ? "_reverse" : "");
    Direction& w = weights_[i];
    v("weight_ih" + suffix, w.weight_ih);
    v("weight_hh" + suffix, w.weight_hh);
    v("bias_ih" + suffix, w.bias_ih);
    v("bias_hh" + suffix, w.bias_hh);
    v("weight_hr" + suffix, w.weight_hr);
    v("norm_ih_weight" + suffix, w.norm_ih_weight);
    v("norm_ih_bias" + suffix, w.norm_ih_bias);
    v("norm_hh_weight" + suffix, w.norm_hh_weight);
    v("norm_hh_bias" + suffix, w.norm_hh_bias);
    v("norm_cell_weight" + suffix, w.norm_cell_weight);
    v("norm_cell_bias" + suffix, w.norm_cell_bias);
  }
  v("dropout", dropout_);
}

RNN::RNN(const RNNOptions& options, Rng& rng)
    : RecurrentLayers("RNN", rnn_kind(options.nonlinearity), options, rng) {}
GRU::GRU(const GRUOptions& options, Rng& rng)
    : RecurrentLayers("GRU", RecurrentKind::gru, options, rng) {}
LSTM::LSTM(const LSTMOptions& options, Rng& rng)
    : RecurrentLayers("LSTM",
                      options.coupled_gates ? RecurrentKind::coupled_lstm : RecurrentKind::lstm,
                      options, rng) {}

RecurrentCell::RecurrentCell(const char* name, RecurrentKind kind, const RecurrentCellOptions& o,
                             Rng& rng)
    : kind_(kind) {
  check_cell(name, kind, o);
  const std::int64_t H = o.hidden_size, GH = gates_of(kind) * H;
  weight_ih = init::uniform_parameter({GH, o.input_size}, H, rng);
  weight_hh = init::uniform_parameter({GH, H}, H, rng);
  if (!o.bias) return;
  bias_ih = init::uniform_parameter({GH}, H, rng);
  bias_hh = init::uniform_parameter({GH}, H, rng);
}

// One step is a batch of sequences of length 1.
RecurrentOutput RecurrentCell::run(const Tensor& x, const Tensor& input_gates, const Tensor& h,
                                   const Tensor& c) const {
  const Tensor& rows = x.defined() ? x : input_gates;
  RecurrentDirection d;
  if (x.defined()) d.weight_ih = weight_ih, d.bias_ih = bias_ih;
  d.gates = input_gates;
  d.weight_hh = weight_hh;
  d.bias_hh = bias_hh;
  d.initial = h;
  d.initial_cell = c;
  return recurrent(x, {d}, RaggedIndex::equal(rows.dim(0), 1), {.kind = kind_});
}

void RecurrentCell::visit(Visitor& v) {
  v("weight_ih", weight_ih);
  v("weight_hh", weight_hh);
  v("bias_ih", bias_ih);
  v("bias_hh", bias_hh);
}

RNNCell::RNNCell(const RNNCellOptions& options, Rng& rng)
    : RecurrentCell("RNNCell", rnn_kind(options.nonlinearity), options, rng) {}

Tensor RNNCell::operator()(const Tensor& x, const Tensor& h) const {
  const Scope in(*this);
  return run(x, {}, h, {}).states;
}

GRUCell::GRUCell(const GRUCellOptions& options, Rng& rng)
    : RecurrentCell("GRUCell", RecurrentKind::gru, options, rng) {}

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h) const {
  const Scope in(*this);
  return run(x, {}, h, {}).states;
}

Tensor GRUCell::step(const Tensor& input_gates, const Tensor& h) const {
  const Scope in(*this);
  return run({}, input_gates, h, {}).states;
}

LSTMCell::LSTMCell(const LSTMCellOptions& options, Rng& rng)
    : RecurrentCell("LSTMCell", RecurrentKind::lstm, options, rng) {}

LSTMCell::State LSTMCell::operator()(const Tensor& x, const State& before) const {
  const Scope in(*this);
  RecurrentOutput out = run(x, {}, before.h, before.c);
  return {std::move(out.states), select(out.last_cell, 0, 0)};
}

}  // namespace fovea::nn
