// What the parts of core/ops/recurrent.h share.
#pragma once

#include <fovea/core/autograd.h>
#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/ops/recurrent.h>

#include <array>

namespace fovea::detail {

// The tensors of a direction that have gradients, in the order of the op's inputs.
enum Part : std::uint8_t {
  weight_ih,
  gates,
  weight_hh,
  bias_ih,
  bias_hh,
  weight_hr,
  norm_weight,
  norm_bias,
  cell_norm_weight,
  cell_norm_bias,
  initial,
  initial_cell,
  part_count
};
inline constexpr std::array<Tensor RecurrentDirection::*, part_count> recurrent_parts = {
    &RecurrentDirection::weight_ih,        &RecurrentDirection::gates,
    &RecurrentDirection::weight_hh,        &RecurrentDirection::bias_ih,
    &RecurrentDirection::bias_hh,          &RecurrentDirection::weight_hr,
    &RecurrentDirection::norm_weight,      &RecurrentDirection::norm_bias,
    &RecurrentDirection::cell_norm_weight, &RecurrentDirection::cell_norm_bias,
    &RecurrentDirection::initial,          &RecurrentDirection::initial_cell};

// Where a part stands among the op's inputs; input 0 is x.
constexpr std::size_t place_of(std::size_t direction, std::size_t part) {
  return 1 + direction * part_count + part;
}

struct RecurrentSizes {
  std::int64_t N, B, I, H, P, G, K;  // K: numbers that a row's gates keep, in units of H
};
RecurrentSizes sizes_of(const Tensor& input, const RecurrentDirection& direction,
                        const RaggedIndex& index, RecurrentKind kind);

void check_recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                     const RaggedIndex& index, const RecurrentSettings& settings);

// The kernels' kinds are ours, in the same order.
static_assert(static_cast<int>(RecurrentKind::coupled_lstm) ==
              static_cast<int>(kernels::CellKind::coupled_lstm));
inline kernels::CellKind cell_kind(RecurrentKind kind) {
  return static_cast<kernels::CellKind>(kind);
}

// What the forward leaves of a direction, beside its states.
struct RecurrentKept {
  Tensor gates;        // (N, K H)
  Tensor cells;        // (N, H), lstms
  Tensor normed;       // (N, G H), with norm_weight
  Tensor norm_scale;   // (N, groups)
  Tensor unprojected;  // (N, H), with weight_hr
};
inline constexpr std::array<Tensor RecurrentKept::*, 5> recurrent_kept = {
    &RecurrentKept::cells, &RecurrentKept::gates, &RecurrentKept::normed,
    &RecurrentKept::norm_scale, &RecurrentKept::unprojected};
// Makes those that are undefined.
void make_kept(RecurrentKept& kept, const RecurrentSizes& n, const RecurrentDirection& direction,
               RecurrentKind kind, DType dtype);

// A direction as the kernels take it, but for the last states. y: (N, D P), of which direction d
// has columns d P ... gi: `gates` if given; else what compute_gates() puts where the gates will be.
template <class T>
kernels::RecurrentWalk<T> walk_of(const RecurrentSizes& n, const RecurrentDirection& direction,
                                  const RaggedIndex& index, const RecurrentSettings& settings,
                                  const RecurrentKept& kept, const Tensor& y, std::int64_t d);
template <class T>
void compute_gates(const RecurrentSizes& n, const Tensor& input,
                   const RecurrentDirection& direction, RecurrentKept& kept);

// All that the backward needs of the forward.
struct RecurrentRecord {
  std::vector<Saved> inputs;                   // x, and the parts of each direction at their places
  std::vector<RecurrentDirection> directions;  // of which the constants are used
  std::vector<std::array<Saved, 5>> kept;      // with recompute the cells alone
  Saved states;
  RaggedIndex index;
  RecurrentSettings settings;
};
Grads recurrent_backward(const RecurrentRecord& record, std::span<const Tensor> dys, Wanted wanted);

}  // namespace fovea::detail
