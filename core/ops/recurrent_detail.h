// Shared by the implementation files of core/ops/recurrent.h.
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

// Index of a part among the op's inputs; input 0 is x.
constexpr std::size_t input_index(std::size_t direction, std::size_t part) {
  return 1 + direction * part_count + part;
}

struct RecurrentSizes {
  std::int64_t N, B, I, H, P, G, K;  // K: elements per row of the saved gates, in units of H
};
RecurrentSizes sizes_of(const Tensor& input, const RecurrentDirection& direction,
                        const RaggedIndex& index, RecurrentKind kind);

void check_recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                     const RaggedIndex& index, const RecurrentSettings& settings);

// The kernels' enum has the same values in the same order.
static_assert(static_cast<int>(RecurrentKind::coupled_lstm) ==
              static_cast<int>(kernels::CellKind::coupled_lstm));
inline kernels::CellKind cell_kind(RecurrentKind kind) {
  return static_cast<kernels::CellKind>(kind);
}

// Values that the forward saves for a direction, besides its states.
struct RecurrentSaved {
  Tensor gates;        // (N, K H)
  Tensor cells;        // (N, H), lstm kinds
  Tensor normed;       // (N, G H), with norm_weight
  Tensor norm_scale;   // (N, groups)
  Tensor unprojected;  // (N, H), with weight_hr
};
inline constexpr std::array<Tensor RecurrentSaved::*, 5> recurrent_kept = {
    &RecurrentSaved::cells, &RecurrentSaved::gates, &RecurrentSaved::normed,
    &RecurrentSaved::norm_scale, &RecurrentSaved::unprojected};
// Allocates the tensors that are undefined.
void allocate_saved(RecurrentSaved& kept, const RecurrentSizes& n,
                    const RecurrentDirection& direction, RecurrentKind kind, DType dtype);

// A direction as the kernels take it, except the last states. y: (N, D P); direction d has columns
// d P ... gi: `gates` if given, else the buffer of the gates, filled by compute_gates().
template <class T>
kernels::RecurrentProblem<T> problem_of(const RecurrentSizes& n,
                                        const RecurrentDirection& direction,
                                        const RaggedIndex& index, const RecurrentSettings& settings,
                                        const RecurrentSaved& kept, const Tensor& y,
                                        std::int64_t d);
template <class T>
void compute_gates(const RecurrentSizes& n, const Tensor& input,
                   const RecurrentDirection& direction, RecurrentSaved& kept);

// Everything the backward needs from the forward.
struct RecurrentRecord {
  std::vector<Saved> inputs;                   // x, and the parts of each direction, by input index
  std::vector<RecurrentDirection> directions;  // only the constants are used
  std::vector<std::array<Saved, 5>> kept;      // with recompute the cells only
  Saved states;
  RaggedIndex index;
  RecurrentSettings settings;
};
Grads recurrent_backward(const RecurrentRecord& record, std::span<const Tensor> dys,
                         NeedsGrad needs_grad);

}  // namespace fovea::detail
