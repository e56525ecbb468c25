#include <fovea/core/kernels/gemm.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/optional_input_detail.h>
#include <fovea/core/ops/recurrent_detail.h>

namespace fovea {

const char* name_of(RecurrentKind kind) {
  switch (kind) {
    case RecurrentKind::gru:
      return "gru";
    case RecurrentKind::lstm:
    case RecurrentKind::coupled_lstm:
      return "lstm";
    default:
      return "rnn";
  }
}

std::int64_t gates_of(RecurrentKind kind) {
  return kernels::layout_of(detail::cell_kind(kind)).gates;
}

bool carries_cell(RecurrentKind kind) {
  return kernels::layout_of(detail::cell_kind(kind)).carries_cell;
}

namespace detail {
namespace {

void check_settings(const char* op, const RecurrentSettings& s) {
  if (s.cell_zoneout != 0 && !carries_cell(s.kind))
    value_error(op, "cell_zoneout = {}: only an lstm has a cell", s.cell_zoneout);
  for (const double share : {s.zoneout, s.cell_zoneout})
    if (!(share >= 0 && share <= 1)) value_error(op, "zoneout = {}: must be in [0, 1]", share);
}

// Tensors that only the lstm kinds accept.
void check_of_lstm(const char* op, const RecurrentDirection& d, RecurrentKind kind) {
  if (carries_cell(kind)) return;
  for (const Tensor* x : {&d.weight_hr, &d.initial_cell, &d.cell_norm_weight, &d.cell_norm_bias,
                          &d.cell_zoneout_shares})
    if (x->defined())
      value_error(op, "{}: only an lstm has a projection (weight_hr) or a cell", x->shape().str());
}

void check_direction(const char* op, const RecurrentSizes& n, const RecurrentDirection& d,
                     RecurrentKind kind) {
  const DType dtype = d.weight_hh.dtype();
  const auto need = [&](std::string_view name, const Tensor& x, const Shape& shape) {
    check_if_given(op, name, x, shape, dtype);
  };
  if (!d.weight_ih.defined() && !d.gates.defined())
    state_error(op, "weight_ih is undefined: must be given if gates are not");
  if (d.weight_ih.defined() && d.gates.defined())
    value_error(op, "weight_ih and gates: exactly one of them must be given");
  if (d.gates.defined() && d.bias_ih.defined())
    value_error(op, "bias_ih {} and gates {}: must not both be given, gates include the bias",
                d.bias_ih.shape().str(), d.gates.shape().str());
  if (d.norm_weight.defined() != d.norm_bias.defined() ||
      d.cell_norm_weight.defined() != d.cell_norm_bias.defined())
    value_error(op, "a norm's weight and bias: both must be given, or none");
  const std::int64_t GH = n.G * n.H;
  need("weight_ih", d.weight_ih, {GH, n.I});
  need("gates", d.gates, {n.N, GH});
  need("weight_hh", d.weight_hh, {GH, n.P});
  need("bias_ih", d.bias_ih, {GH});
  need("bias_hh", d.bias_hh, {GH});
  need("weight_hr", d.weight_hr, {n.P, n.H});
  need("norm_weight", d.norm_weight, {GH});
  need("norm_bias", d.norm_bias, {GH});
  need("cell_norm_weight", d.cell_norm_weight, {n.H});
  need("cell_norm_bias", d.cell_norm_bias, {n.H});
  need("initial state", d.initial, {n.B, n.P});
  need("initial cell", d.initial_cell, {n.B, n.H});
  need("hidden_mask", d.hidden_mask, {n.B, n.P});
  need("zoneout_shares", d.zoneout_shares, {n.N, n.P});
  need("cell_zoneout_shares", d.cell_zoneout_shares, {n.N, n.H});
  check_of_lstm(op, d, kind);
}

}  // namespace

RecurrentSizes sizes_of(const Tensor& input, const RecurrentDirection& d, const RaggedIndex& index,
                        RecurrentKind kind) {
  RecurrentSizes n{};
  n.N = index.total();
  n.B = index.batch_size();
  n.I = input.defined() ? input.dim(1) : 0;
  n.G = gates_of(kind);
  n.H = d.weight_hh.dim(0) / n.G;
  n.P = d.weight_hh.dim(1);
  n.K = kernels::layout_of(cell_kind(kind)).kept;
  return n;
}

void check_recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                     const RaggedIndex& index, const RecurrentSettings& settings) {
  const char* op = name_of(settings.kind);
  check_settings(op, settings);
  if (directions.empty() || directions.size() > 2)
    value_error(op, "{} directions: there must be 1 or 2", directions.size());
  for (const RecurrentDirection& d : directions) {
    const std::int64_t G = gates_of(settings.kind);
    check_defined(op, "weight_hh", d.weight_hh);
    if (d.weight_hh.rank() != 2 || d.weight_hh.dim(0) < G || d.weight_hh.dim(0) % G != 0 ||
        !(d.weight_hr.defined() || d.weight_hh.dim(0) == G * d.weight_hh.dim(1)))
      shape_error(op, "weight_hh {}: must be ({}H, H), or ({}H, P) with a weight_hr (P, H), H >= 1",
                  d.weight_hh.shape().str(), G, G);
    if (!input.defined() && d.weight_ih.defined())
      state_error(op, "input is undefined: must be given with weight_ih");
    if (input.defined() && (input.rank() != 2 || input.dim(0) != index.total()))
      shape_error(op, "input {} for sequences of {} rows in total: must be ({}, I)",
                  input.shape().str(), index.total(), index.total());
    if (input.defined() && input.dtype() != d.weight_hh.dtype())
      dtype_error(op, "weight_hh is {}, inputs are {}: dtypes must be equal",
                  name_of(d.weight_hh.dtype()), name_of(input.dtype()));
    if (!(d.weight_hh.shape() == directions[0].weight_hh.shape()))
      shape_error(op, "weight_hh {} and {}: must be equal for both directions",
                  directions[0].weight_hh.shape().str(), d.weight_hh.shape().str());
    check_direction(op, sizes_of(input, d, index, settings.kind), d, settings.kind);
  }
}

void allocate_saved(RecurrentSaved& kept, const RecurrentSizes& n, const RecurrentDirection& d,
                    RecurrentKind kind, DType dtype) {
  const auto make = [&](Tensor& x, bool needs_grad, std::int64_t width) {
    if (needs_grad && !x.defined()) x = empty({n.N, width}, dtype);
  };
  make(kept.gates, true, n.K * n.H);
  make(kept.cells, carries_cell(kind), n.H);
  make(kept.normed, d.norm_weight.defined(), n.G * n.H);
  make(kept.norm_scale, d.norm_weight.defined(), kernels::norm_groups(cell_kind(kind)));
  make(kept.unprojected, d.weight_hr.defined(), n.H);
}

template <class T>
kernels::RecurrentProblem<T> problem_of(const RecurrentSizes& n, const RecurrentDirection& d,
                                        const RaggedIndex& index, const RecurrentSettings& settings,
                                        const RecurrentSaved& kept, const Tensor& y,
                                        std::int64_t direction) {
  // Written by the forward, read by the backward: the tensor version must not change.
  const auto numbers = [](const Tensor& x) {
    return x.defined() ? reinterpret_cast<T*>(x.raw_data()) : nullptr;
  };
  const bool given = d.gates.defined();
  T* gates = numbers(kept.gates);
  return {.kind = cell_kind(settings.kind),
          .rows = {index.offsets().data(), n.B, d.reverse},
          .H = n.H,
          .P = n.P,
          .weight = d.weight_hh.data<T>(),
          .bias = data_or_null<T>(d.bias_hh),
          .projection = data_or_null<T>(d.weight_hr),
          .norm_weight = data_or_null<T>(d.norm_weight),
          .norm_bias = data_or_null<T>(d.norm_bias),
          .cell_norm_weight = data_or_null<T>(d.cell_norm_weight),
          .cell_norm_bias = data_or_null<T>(d.cell_norm_bias),
          .mask = data_or_null<T>(d.hidden_mask),
          .zoneout = {data_or_null<T>(d.zoneout_shares), static_cast<T>(settings.zoneout)},
          .cell_zoneout = {data_or_null<T>(d.cell_zoneout_shares),
                           static_cast<T>(settings.cell_zoneout)},
          .h0 = data_or_null<T>(d.initial),
          .c0 = data_or_null<T>(d.initial_cell),
          .gi = given ? d.gates.data<T>() : gates,
          .gi_stride = (given ? n.G : n.K) * n.H,
          .y = numbers(y) + direction * n.P,
          .y_stride = y.dim(1),
          .gates = gates,
          .cells = numbers(kept.cells),
          .normed = numbers(kept.normed),
          .norm_scale = numbers(kept.norm_scale),
          .unprojected = numbers(kept.unprojected),
          .hn = nullptr,
          .cn = nullptr};
}
template kernels::RecurrentProblem<float> problem_of(const RecurrentSizes&,
                                                     const RecurrentDirection&, const RaggedIndex&,
                                                     const RecurrentSettings&,
                                                     const RecurrentSaved&, const Tensor&,
                                                     std::int64_t);
template kernels::RecurrentProblem<double> problem_of(const RecurrentSizes&,
                                                      const RecurrentDirection&, const RaggedIndex&,
                                                      const RecurrentSettings&,
                                                      const RecurrentSaved&, const Tensor&,
                                                      std::int64_t);

template <class T>
void compute_gates(const RecurrentSizes& n, const Tensor& input, const RecurrentDirection& d,
                   RecurrentSaved& kept) {
  if (!d.weight_ih.defined()) return;
  kernels::gemm(kernels::Trans::no, kernels::Trans::yes, n.N, n.G * n.H, n.I, T(1), input.data<T>(),
                n.I, d.weight_ih.data<T>(), n.I, T(0), kept.gates.mutable_data<T>(), n.K * n.H,
                data_or_null<T>(d.bias_ih));
}
template void compute_gates<float>(const RecurrentSizes&, const Tensor&, const RecurrentDirection&,
                                   RecurrentSaved&);
template void compute_gates<double>(const RecurrentSizes&, const Tensor&, const RecurrentDirection&,
                                    RecurrentSaved&);

}  // namespace detail

namespace {

using namespace detail;

RecurrentDirection dense(RecurrentDirection d) {
  for (const auto part : recurrent_parts) d.*part = dense_or_none(d.*part);
  for (Tensor* x : {&d.hidden_mask, &d.zoneout_shares, &d.cell_zoneout_shares})
    *x = dense_or_none(*x);
  return d;
}

std::vector<Tensor> inputs_of(const Tensor& x, const std::vector<RecurrentDirection>& directions) {
  std::vector<Tensor> inputs{x};
  for (const RecurrentDirection& d : directions)
    for (const auto part : recurrent_parts) inputs.push_back(d.*part);
  return inputs;
}

RecurrentOutput run(const Tensor& x, const std::vector<RecurrentDirection>& directions,
                    const RaggedIndex& index, const RecurrentSettings& settings,
                    std::vector<RecurrentSaved>& kept) {
  const RecurrentSizes n = sizes_of(x, directions[0], index, settings.kind);
  const auto D = static_cast<std::int64_t>(directions.size());
  const DType dtype = directions[0].weight_hh.dtype();
  RecurrentOutput out{empty({n.N, D * n.P}, dtype), empty({D, n.B, n.P}, dtype), {}};
  if (carries_cell(settings.kind)) out.last_cell = empty({D, n.B, n.H}, dtype);
  dispatch_float(dtype, name_of(settings.kind), [&]<class T>() {
    std::vector<kernels::RecurrentProblem<T>> walks;
    T* hn = out.last.mutable_data<T>();
    T* cn = out.last_cell.defined() ? out.last_cell.mutable_data<T>() : nullptr;
    for (std::int64_t d = 0; d < D; ++d) {
      const auto at = static_cast<std::size_t>(d);
      allocate_saved(kept[at], n, directions[at], settings.kind, dtype);
      compute_gates<T>(n, x, directions[at], kept[at]);
      walks.push_back(problem_of<T>(n, directions[at], index, settings, kept[at], out.states, d));
      walks.back().hn = hn + d * n.B * n.P;
      if (cn) walks.back().cn = cn + d * n.B * n.H;
    }
    kernels::recurrent_forward(walks.data(), D);
  });
  return out;
}

// With recompute only the cells are saved: the rest is computed from them and the states.
std::array<Saved, 5> saved(const RecurrentSaved& kept, bool recompute) {
  std::array<Saved, 5> all;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!recompute || recurrent_kept[i] == &RecurrentSaved::cells)
      all[i] = keep(kept.*recurrent_kept[i]);
  return all;
}

// Number of multiply-adds of a forward.
std::int64_t products(const Tensor& x, const std::vector<RecurrentDirection>& directions,
                      const RaggedIndex& index, RecurrentKind kind) {
  std::int64_t sum = 0;
  for (const RecurrentDirection& d : directions) {
    const RecurrentSizes n = sizes_of(x, d, index, kind);
    const std::int64_t from_input = d.weight_ih.defined() ? n.I : 0;
    const std::int64_t projection = d.weight_hr.defined() ? n.P * n.H : 0;
    sum += n.N * (n.G * n.H * (from_input + n.P) + projection);
  }
  return sum;
}

// The op name, shown in errors and graph drawings, is that of the kind.
template <class... Args>
std::vector<Tensor> record_as(RecurrentKind kind, Args&&... args) {
  switch (kind) {
    case RecurrentKind::gru:
      return record_outputs<"gru">(std::forward<Args>(args)...);
    case RecurrentKind::lstm:
    case RecurrentKind::coupled_lstm:
      return record_outputs<"lstm">(std::forward<Args>(args)...);
    default:
      return record_outputs<"rnn">(std::forward<Args>(args)...);
  }
}

}  // namespace

RecurrentOutput recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                          const RaggedIndex& index, const RecurrentSettings& settings) {
  check_recurrent(input, directions, index, settings);
  const Tensor x = dense_or_none(input);
  std::vector<RecurrentDirection> all;
  for (const RecurrentDirection& d : directions) all.push_back(dense(d));
  std::vector<RecurrentSaved> kept(all.size());
  RecurrentOutput out = run(x, all, index, settings, kept);
  detail::note_work([&] { return products(x, all, index, settings.kind); });

  const std::vector<Tensor> inputs = inputs_of(x, all);
  RecurrentRecord record{{}, std::move(all), {}, keep(without_graph(out.states)), index, settings};
  for (const Tensor& tensor : inputs) record.inputs.push_back(keep(tensor));
  for (const RecurrentSaved& k : kept) record.kept.push_back(saved(k, settings.recompute));
  for (RecurrentDirection& d : record.directions)
    for (const auto part : recurrent_parts) d.*part = {};
  std::vector<Tensor> outputs{std::move(out.states), std::move(out.last)};
  if (out.last_cell.defined()) outputs.push_back(std::move(out.last_cell));
  outputs =
      record_as(settings.kind, std::move(outputs), std::span<const Tensor>(inputs),
                [record = std::move(record)](std::span<const Tensor> dys, NeedsGrad needs_grad) {
                  return recurrent_backward(record, dys, needs_grad);
                });
  return {outputs[0], outputs[1], outputs.size() > 2 ? outputs[2] : Tensor()};
}

}  // namespace fovea
