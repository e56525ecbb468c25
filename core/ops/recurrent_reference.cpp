// Reference implementation of core/ops/recurrent.h: the formula of each cell, one row at a time.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/recurrent_detail.h>
#include <fovea/core/sizes.h>

namespace fovea {
namespace {

using Direction = RecurrentDirection;

struct State {
  Tensor h, c;  // (1, P), (1, H)
};

Tensor row_of(const Tensor& x, std::int64_t row) { return slice(x, 0, row, row + 1); }

// The state's contribution to the gates.    h: (1, P)  ->  (1, G H)
Tensor state_gates(const Direction& d, RecurrentKind kind, const Tensor& h, std::int64_t b) {
  const Tensor seen = d.hidden_mask.defined() ? row_of(d.hidden_mask, b) * h : h;
  const Tensor gh = linear(seen, d.weight_hh, d.bias_hh);
  if (!d.norm_weight.defined()) return gh;
  if (kind != RecurrentKind::gru) return layer_norm(gh, d.norm_weight, d.norm_bias);
  const std::int64_t GH = gh.dim(1), cut = 2 * GH / 3;  // the candidate is separate from r and z
  const auto normed = [&](std::int64_t from, std::int64_t to) {
    return layer_norm(slice(gh, 1, from, to), slice(d.norm_weight, 0, from, to),
                      slice(d.norm_bias, 0, from, to));
  };
  return concat({normed(0, cut), normed(cut, GH)}, 1);
}

State gru_cell(const Tensor& gi, const Tensor& gh, const State& before) {
  const std::vector<Tensor> i = chunk(gi, 3, 1), g = chunk(gh, 3, 1);
  const Tensor r = sigmoid(i[0] + g[0]);
  const Tensor z = sigmoid(i[1] + g[1]);
  const Tensor n = tanh(i[2] + r * g[2]);
  return {(1.0 - z) * n + z * before.h, {}};
}

State lstm_cell(const Direction& d, bool coupled, const Tensor& g, const State& before) {
  const std::vector<Tensor> gates = chunk(g, coupled ? 3 : 4, 1);
  const std::size_t at = coupled ? 0 : 1;
  const Tensor f = sigmoid(gates[at]), u = tanh(gates[at + 1]), o = sigmoid(gates[at + 2]);
  const Tensor i = coupled ? 1.0 - f : sigmoid(gates[0]);
  const Tensor c = f * before.c + i * u;
  const Tensor seen =
      d.cell_norm_weight.defined() ? layer_norm(c, d.cell_norm_weight, d.cell_norm_bias) : c;
  return {o * tanh(seen), c};
}

State cell(const Direction& d, RecurrentKind kind, const Tensor& gi, const State& before,
           std::int64_t b) {
  const Tensor gh = state_gates(d, kind, before.h, b);
  switch (kind) {
    case RecurrentKind::rnn_tanh:
      return {tanh(gi + gh), {}};
    case RecurrentKind::rnn_relu:
      return {relu(gi + gh), {}};
    case RecurrentKind::gru:
      return gru_cell(gi, gh, before);
    default:
      return lstm_cell(d, kind == RecurrentKind::coupled_lstm, gi + gh, before);
  }
}

// m previous + (1 - m) next
Tensor zoned_out(const Tensor& shares, double share, std::int64_t row, const Tensor& before,
                 const Tensor& next) {
  if (!shares.defined()) return share == 0 ? next : share * before + (1 - share) * next;
  const Tensor m = row_of(shares, row);
  return m * before + (1.0 - m) * next;
}

struct Walked {
  std::vector<Tensor> rows, last, last_cell;
};

Walked walk(const Tensor& gi, const Direction& d, const RaggedIndex& index,
            const RecurrentSettings& s, const detail::RecurrentSizes& n) {
  const DType dtype = d.weight_hh.dtype();
  const bool has_cell = carries_cell(s.kind);
  Walked walked;
  walked.rows = checked_vector<Tensor>("recurrent", "N", n.N);
  for (std::int64_t b = 0; b < n.B; ++b) {
    State state{d.initial.defined() ? row_of(d.initial, b) : zeros({1, n.P}, dtype), {}};
    if (has_cell)
      state.c = d.initial_cell.defined() ? row_of(d.initial_cell, b) : zeros({1, n.H}, dtype);
    for (std::int64_t step = 0; step < index.length(b); ++step) {
      const std::int64_t row = d.reverse ? index.offset(b + 1) - 1 - step : index.offset(b) + step;
      State next = cell(d, s.kind, row_of(gi, row), state, b);
      if (d.weight_hr.defined()) next.h = linear(next.h, d.weight_hr);
      next.h = zoned_out(d.zoneout_shares, s.zoneout, row, state.h, next.h);
      if (has_cell) next.c = zoned_out(d.cell_zoneout_shares, s.cell_zoneout, row, state.c, next.c);
      state = next;
      walked.rows[static_cast<std::size_t>(row)] = state.h;
    }
    walked.last.push_back(state.h);
    if (has_cell) walked.last_cell.push_back(state.c);
  }
  return walked;
}

// concat() requires a tensor: there may be no rows, or no sequences.
Tensor joined(const std::vector<Tensor>& rows, std::int64_t width, DType dtype) {
  return rows.empty() ? empty({0, width}, dtype) : concat(rows, 0);
}

}  // namespace

RecurrentOutput recurrent_reference(const Tensor& input, const std::vector<Direction>& directions,
                                    const RaggedIndex& index, const RecurrentSettings& settings) {
  detail::check_recurrent(input, directions, index, settings);
  const DType dtype = directions[0].weight_hh.dtype();
  std::vector<Tensor> states, last, last_cell;
  for (const Direction& d : directions) {
    const auto n = detail::sizes_of(input, d, index, settings.kind);
    const Tensor gi = d.gates.defined() ? d.gates : linear(input, d.weight_ih, d.bias_ih);
    const Walked walked = walk(gi, d, index, settings, n);
    states.push_back(joined(walked.rows, n.P, dtype));
    last.push_back(joined(walked.last, n.P, dtype));
    if (carries_cell(settings.kind)) last_cell.push_back(joined(walked.last_cell, n.H, dtype));
  }
  return {concat(states, 1), stack(last, 0), last_cell.empty() ? Tensor() : stack(last_cell, 0)};
}

}  // namespace fovea
