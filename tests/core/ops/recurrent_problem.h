// A recurrent layer with all optional inputs, and its results.
#pragma once

#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/random.h>

#include <cmath>
#include <string>

namespace fovea::test {

struct RecurrentFeatures {
  std::string name = "";
  bool bidirectional = false, reverse = false, bias = true, initial = true;
  bool gates_given = false, projection = false, norm = false, cell_norm = false;
  bool mask = false, zoneout = false, mean_zoneout = false, recompute = false;
};

inline std::vector<RecurrentFeatures> all_recurrent_features(bool lstm) {
  std::vector<RecurrentFeatures> all{{.name = "plain"},
                                     {.name = "bidirectional", .bidirectional = true},
                                     {.name = "reverse", .reverse = true},
                                     {.name = "bare", .bias = false, .initial = false},
                                     {.name = "gates given", .gates_given = true},
                                     {.name = "norm", .norm = true},
                                     {.name = "mask", .mask = true},
                                     {.name = "zoneout", .zoneout = true},
                                     {.name = "mean zoneout", .mean_zoneout = true},
                                     {.name = "recompute", .recompute = true},
                                     {.name = "norm, mask, zoneout, both ways, recompute",
                                      .bidirectional = true,
                                      .norm = true,
                                      .mask = true,
                                      .zoneout = true,
                                      .recompute = true}};
  if (!lstm) return all;
  all.push_back({.name = "projection", .projection = true});
  all.push_back({.name = "cell norm", .cell_norm = true});
  all.push_back({.name = "everything",
                 .bidirectional = true,
                 .projection = true,
                 .norm = true,
                 .cell_norm = true,
                 .mask = true,
                 .zoneout = true,
                 .recompute = true});
  return all;
}

struct RecurrentProblem {
  RaggedIndex index;
  RecurrentSettings settings;
  Tensor input;
  std::vector<RecurrentDirection> directions;
  std::vector<Tensor> cotangents;  // of the outputs

  std::vector<Tensor*> parts() {  // tensors that have a gradient
    std::vector<Tensor*> all{&input};
    for (RecurrentDirection& d : directions)
      for (Tensor* x : {&d.weight_ih, &d.gates, &d.weight_hh, &d.bias_ih, &d.bias_hh, &d.weight_hr,
                        &d.norm_weight, &d.norm_bias, &d.cell_norm_weight, &d.cell_norm_bias,
                        &d.initial, &d.initial_cell})
        all.push_back(x);
    std::erase_if(all, [](const Tensor* x) { return !x->defined(); });
    return all;
  }
  std::vector<Tensor> leaves() {
    std::vector<Tensor> all;
    for (const Tensor* x : parts()) all.push_back(*x);
    return all;
  }
  std::vector<Tensor*> constants() {
    std::vector<Tensor*> all;
    for (RecurrentDirection& d : directions)
      for (Tensor* x : {&d.hidden_mask, &d.zoneout_shares, &d.cell_zoneout_shares})
        if (x->defined()) all.push_back(x);
    return all;
  }

  RecurrentProblem to(DType dtype) const {
    RecurrentProblem p = *this;
    for (Tensor* x : p.parts()) *x = x->detach().to(dtype).clone().set_requires_grad();
    for (Tensor* x : p.constants()) *x = x->to(dtype);
    for (Tensor& x : p.cotangents) x = x.to(dtype);
    return p;
  }

  RecurrentOutput fused() const { return recurrent(input, directions, index, settings); }
  RecurrentOutput reference() const {
    return recurrent_reference(input, directions, index, settings);
  }

  static std::vector<Tensor> list(const RecurrentOutput& out) {
    std::vector<Tensor> all{out.states, out.last};
    if (out.last_cell.defined()) all.push_back(out.last_cell);
    return all;
  }
  /// All gradients, then the outputs.
  std::vector<Tensor> results(const RecurrentOutput& out) {
    const std::vector<Tensor> outputs = list(out), inputs = leaves();
    std::vector<Tensor> all = grad(outputs, inputs, cotangents);
    all.insert(all.end(), outputs.begin(), outputs.end());
    return all;
  }
};

inline RecurrentDirection random_direction(const RecurrentFeatures& f, RecurrentKind kind,
                                           const RaggedIndex& index, std::int64_t I, std::int64_t H,
                                           Rng& rng) {
  const std::int64_t GH = gates_of(kind) * H, P = f.projection ? (H + 1) / 2 : H;
  const std::int64_t N = index.total(), B = index.batch_size();
  const double scale = 1 / std::sqrt(static_cast<double>(H));
  const auto leaf = [&](const Shape& shape, double size = 1) {
    return (size * randn(shape, rng, DType::f64)).detach().clone().set_requires_grad();
  };
  const auto share = [&](const Shape& shape) {  // 0 or 1
    Tensor x = empty(shape, DType::f64);
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.mutable_data<double>()[i] = rng.chance(0.3) ? 1 : 0;
    return x;
  };
  RecurrentDirection d;
  d.reverse = f.reverse;
  if (f.gates_given) d.gates = leaf({N, GH});
  if (!f.gates_given) d.weight_ih = leaf({GH, I}, scale);
  d.weight_hh = leaf({GH, P}, scale);
  if (f.bias && !f.gates_given) d.bias_ih = leaf({GH});
  if (f.bias) d.bias_hh = leaf({GH});
  if (f.projection) d.weight_hr = leaf({P, H}, scale);
  if (f.norm) d.norm_weight = leaf({GH}), d.norm_bias = leaf({GH});
  if (f.cell_norm) d.cell_norm_weight = leaf({H}), d.cell_norm_bias = leaf({H});
  if (f.initial) d.initial = leaf({B, P});
  if (f.initial && carries_cell(kind)) d.initial_cell = leaf({B, H});
  if (f.mask) d.hidden_mask = 1.5 * share({B, P});
  if (f.zoneout) d.zoneout_shares = share({N, P});
  if (f.zoneout && carries_cell(kind)) d.cell_zoneout_shares = share({N, H});
  return d;
}

inline RecurrentProblem random_recurrent(const RecurrentFeatures& f, RecurrentKind kind,
                                         std::int64_t I, std::int64_t H,
                                         const std::vector<std::int64_t>& lengths) {
  Rng rng(static_cast<std::uint64_t>(H) + lengths.size());
  RecurrentProblem p{RaggedIndex(lengths), {.kind = kind, .recompute = f.recompute}, {}, {}, {}};
  const std::int64_t N = p.index.total(), B = p.index.batch_size(), D = f.bidirectional ? 2 : 1;
  if (f.mean_zoneout) p.settings.zoneout = 0.3;
  if (f.mean_zoneout && carries_cell(kind)) p.settings.cell_zoneout = 0.2;
  if (!f.gates_given) p.input = randn({N, I}, rng, DType::f64).set_requires_grad();
  for (std::int64_t d = 0; d < D; ++d) {
    p.directions.push_back(random_direction(f, kind, p.index, I, H, rng));
    if (d == 1) p.directions.back().reverse = true;
  }
  const std::int64_t P = p.directions[0].weight_hh.dim(1);
  p.cotangents = {randn({N, D * P}, rng, DType::f64), randn({D, B, P}, rng, DType::f64)};
  if (carries_cell(kind)) p.cotangents.push_back(randn({D, B, H}, rng, DType::f64));
  return p;
}

inline constexpr RecurrentKind all_recurrent_kinds[] = {
    RecurrentKind::rnn_tanh, RecurrentKind::rnn_relu, RecurrentKind::gru, RecurrentKind::lstm,
    RecurrentKind::coupled_lstm};

}  // namespace fovea::test
