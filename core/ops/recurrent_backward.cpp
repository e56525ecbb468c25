// The gradients of core/ops/recurrent.h: backward through time gives dgates; the weight gradients
// follow in one product each, over all rows at once.
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/reduce.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/optional_input_detail.h>
#include <fovea/core/ops/recurrent_detail.h>

namespace fovea::detail {
namespace {

using kernels::Trans;

// Backward buffers of one direction.
struct Side {
  RecurrentDirection direction;
  RecurrentSaved kept;
  Tensor dgates;      // (N, K H)
  Tensor dgh;         // (N, G H), with norm_weight
  Tensor dnorm;       // (N, G H)
  Tensor dcell_norm;  // (N, 2H), with cell_norm_weight
  Tensor dstates;     // (N, P), with weight_hr
  Tensor h_prev;      // (N, P), with recompute: the operand of W_hh
};

std::vector<Side> sides_of(const RecurrentRecord& record) {
  std::vector<Side> sides(record.directions.size());
  for (std::size_t d = 0; d < sides.size(); ++d) {
    sides[d].direction = record.directions[d];
    for (std::size_t part = 0; part < part_count; ++part)
      sides[d].direction.*recurrent_parts[part] = record.inputs[input_index(d, part)].get();
    for (std::size_t i = 0; i < recurrent_kept.size(); ++i)
      sides[d].kept.*recurrent_kept[i] = record.kept[d][i].get();
  }
  return sides;
}

// Columns of a matrix with rows `stride` apart, and the rows of W_hh that they belong to.
template <class T>
struct Piece {
  const T* data;
  std::int64_t stride, first, count;
};

// The gradient by gh = W_hh h + b_hh; for the gru it is stored next to the one by gi_n.
template <class T>
std::vector<Piece<T>> dgh_pieces(const RecurrentSizes& n, const Side& side, RecurrentKind kind) {
  const T* dgates = side.dgates.data<T>();
  if (kind != RecurrentKind::gru) return {{dgates, n.K * n.H, 0, n.G * n.H}};
  return {{dgates, 4 * n.H, 0, 2 * n.H}, {dgates + 3 * n.H, 4 * n.H, 2 * n.H, n.H}};
}

// dW = dgh^T (mask * previous h)
template <class T>
Tensor weight_hh_grad(const RecurrentSizes& n, const Side& side, RecurrentKind kind,
                      const kernels::RecurrentProblem<T>& walk) {
  const DType dtype = side.dgates.dtype();
  Tensor h = side.h_prev, dw = empty({n.G * n.H, n.P}, dtype);
  if (!h.defined()) {
    h = empty({n.N, n.P}, dtype);
    kernels::previous_states(walk, h.mutable_data<T>());
  }
  auto pieces = dgh_pieces<T>(n, side, kind);
  if (side.dgh.defined()) pieces = {{side.dgh.data<T>(), n.G * n.H, 0, n.G * n.H}};
  for (const Piece<T>& p : pieces)
    kernels::gemm(Trans::yes, Trans::no, p.count, n.P, n.N, T(1), p.data, p.stride, h.data<T>(),
                  n.P, T(0), dw.mutable_data<T>() + p.first * n.P, n.P);
  return dw;
}

// dW = a^T b over all rows.   a: (N, M), rows stride apart   b: (N, C)
template <class T>
Tensor transposed_product(const Tensor& a, std::int64_t stride, std::int64_t M, const Tensor& b) {
  const std::int64_t N = b.dim(0), C = b.dim(1);
  Tensor product = empty({M, C}, b.dtype());
  kernels::gemm(Trans::yes, Trans::no, M, C, N, T(1), a.data<T>(), stride, b.data<T>(), C, T(0),
                product.mutable_data<T>(), C);
  return product;
}

template <class T>
Tensor column_sums(const Tensor& x) {
  Tensor sums = empty({x.dim(1)}, x.dtype());
  kernels::sum(x.data<T>(), {1, x.dim(0), x.dim(1)}, sums.mutable_data<T>());
  return sums;
}

// Sums over all rows: gradients of biases and of norm weights.
template <class T>
void vector_grads(const RecurrentSizes& n, const Side& side, RecurrentKind kind, std::size_t d,
                  NeedsGrad needs_grad, Grads& grads) {
  const auto wants = [&](Part part) { return needs_grad[input_index(d, part)]; };
  const auto give = [&](Part part, Tensor x) {
    if (wants(part)) grads[input_index(d, part)] = std::move(x);
  };
  const std::int64_t H = n.H;
  if (wants(bias_ih) || wants(bias_hh) || wants(norm_bias)) {
    const Tensor sums = column_sums<T>(side.dgates);  // (K H)
    const Tensor of_gh = kind != RecurrentKind::gru
                             ? sums
                             : concat({slice(sums, 0, 0, 2 * H), slice(sums, 0, 3 * H, 4 * H)}, 0);
    give(bias_ih, slice(sums, 0, 0, n.G * H).clone());
    give(norm_bias, of_gh.clone());
    if (wants(bias_hh))
      give(bias_hh, side.dgh.defined() ? column_sums<T>(side.dgh) : of_gh.clone());
  }
  if (wants(norm_weight)) give(norm_weight, column_sums<T>(side.dnorm));
  if (wants(cell_norm_weight) || wants(cell_norm_bias)) {
    const Tensor sums = column_sums<T>(side.dcell_norm);  // (2H)
    give(cell_norm_weight, slice(sums, 0, 0, H).clone());
    give(cell_norm_bias, slice(sums, 0, H, 2 * H).clone());
  }
}

template <class T>
void direction_grads(const RecurrentSizes& n, const Tensor& x, const Side& side,
                     const kernels::RecurrentProblem<T>& walk, RecurrentKind kind, std::size_t d,
                     NeedsGrad needs_grad, Grads& grads) {
  const auto wants = [&](Part part) { return needs_grad[input_index(d, part)]; };
  const std::int64_t GH = n.G * n.H, KH = n.K * n.H;
  if (wants(weight_hh)) grads[input_index(d, weight_hh)] = weight_hh_grad(n, side, kind, walk);
  if (wants(weight_ih))
    grads[input_index(d, weight_ih)] = transposed_product<T>(side.dgates, KH, GH, x);
  if (wants(weight_hr))
    grads[input_index(d, weight_hr)] =
        transposed_product<T>(side.dstates, n.P, n.P, side.kept.unprojected);
  if (wants(gates)) grads[input_index(d, gates)] = slice(side.dgates, 1, 0, GH).contiguous();
  vector_grads<T>(n, side, kind, d, needs_grad, grads);
}

// The gradient by the input, over all directions that use it; undefined if none does.
template <class T>
Tensor input_grad(const RecurrentSizes& n, const std::vector<Side>& sides) {
  Tensor dx;
  for (const Side& side : sides) {
    if (!side.direction.weight_ih.defined()) continue;
    const T beta(dx.defined());
    if (!dx.defined()) dx = empty({n.N, n.I}, side.dgates.dtype());
    kernels::gemm(Trans::no, Trans::no, n.N, n.I, n.G * n.H, T(1), side.dgates.data<T>(), n.K * n.H,
                  side.direction.weight_ih.data<T>(), n.I, beta, dx.mutable_data<T>(), n.I);
  }
  return dx;
}

// With recompute: computes the values that the forward did not save.
template <class T>
void rebuild(const RecurrentSizes& n, Side& side, const kernels::RecurrentProblem<T>& walk) {
  const DType dtype = side.kept.gates.dtype();
  side.h_prev = empty({n.N, n.P}, dtype);
  Tensor gh = empty({n.N, n.G * n.H}, dtype);
  kernels::recurrent_rebuild(walk, side.h_prev.mutable_data<T>(), gh.mutable_data<T>());
}

// Number of multiply-adds of compute_gates() and rebuild().
std::int64_t rebuilt_products(const RecurrentSizes& n, const RecurrentDirection& direction) {
  return n.N * n.G * n.H * ((direction.weight_ih.defined() ? n.I : 0) + n.P);
}

// dgates reuses the gates' memory if these were recomputed for this backward only.
template <class T>
void make_grads(const RecurrentSizes& n, Side& side, bool recompute) {
  const DType dtype = side.kept.gates.dtype();
  side.dgates = recompute ? side.kept.gates : empty({n.N, n.K * n.H}, dtype);
  if (side.direction.norm_weight.defined()) {
    side.dgh = empty({n.N, n.G * n.H}, dtype);
    side.dnorm = empty({n.N, n.G * n.H}, dtype);
  }
  if (side.direction.cell_norm_weight.defined()) side.dcell_norm = empty({n.N, 2 * n.H}, dtype);
  if (side.direction.weight_hr.defined()) side.dstates = empty({n.N, n.P}, dtype);
}

struct StateGrads {
  Tensor initial, initial_cell;  // (D, B, P), (D, B, H)
};

template <class T>
kernels::RecurrentGrads<T> grads_of(const RecurrentSizes& n, std::int64_t d, std::int64_t D,
                                    Side& side, std::span<const Tensor> dys, StateGrads& first) {
  const auto part_of = [&](std::size_t output, std::int64_t size) -> const T* {
    const T* dy = output < dys.size() ? data_or_null<T>(dys[output]) : nullptr;
    return dy ? dy + d * size : nullptr;
  };
  const auto written = [](Tensor& x) { return x.defined() ? x.mutable_data<T>() : nullptr; };
  T *dh0 = written(first.initial), *dc0 = written(first.initial_cell);
  return {.dy = part_of(0, n.P),
          .dy_stride = D * n.P,
          .dhn = part_of(1, n.B * n.P),
          .dcn = part_of(2, n.B * n.H),
          .dgates = written(side.dgates),
          .dgh = written(side.dgh),
          .dnorm = written(side.dnorm),
          .dcell_norm = written(side.dcell_norm),
          .dstates = written(side.dstates),
          .dh0 = dh0 + d * n.B * n.P,
          .dc0 = dc0 ? dc0 + d * n.B * n.H : nullptr};
}

template <class T>
Grads fused_backward(const RecurrentRecord& record, std::span<const Tensor> dys,
                     NeedsGrad needs_grad) {
  const RecurrentSettings& settings = record.settings;
  const Tensor &x = record.inputs[0].get(), &y = record.states.get();
  std::vector<Side> sides = sides_of(record);
  const RecurrentSizes n = sizes_of(x, sides[0].direction, record.index, settings.kind);
  const auto D = static_cast<std::int64_t>(sides.size());
  StateGrads first{empty({D, n.B, n.P}, y.dtype()), {}};
  if (carries_cell(settings.kind)) first.initial_cell = empty({D, n.B, n.H}, y.dtype());
  std::vector<kernels::RecurrentProblem<T>> walks;
  std::vector<kernels::RecurrentGrads<T>> walk_grads;
  for (std::int64_t d = 0; d < D; ++d) {
    Side& side = sides[static_cast<std::size_t>(d)];
    allocate_saved(side.kept, n, side.direction, settings.kind, y.dtype());
    if (settings.recompute) compute_gates<T>(n, x, side.direction, side.kept);
    walks.push_back(problem_of<T>(n, side.direction, record.index, settings, side.kept, y, d));
    if (settings.recompute) rebuild(n, side, walks.back());
    if (settings.recompute) note_recomputed(rebuilt_products(n, side.direction));
    make_grads<T>(n, side, settings.recompute);
    walk_grads.push_back(grads_of<T>(n, d, D, side, dys, first));
  }
  kernels::recurrent_backward(walks.data(), walk_grads.data(), D);

  Grads grads(input_index(sides.size(), 0));
  if (needs_grad[0]) grads[0] = input_grad<T>(n, sides);
  for (std::size_t d = 0; d < sides.size(); ++d) {
    direction_grads(n, x, sides[d], walks[d], settings.kind, d, needs_grad, grads);
    const auto at = static_cast<std::int64_t>(d);
    if (needs_grad[input_index(d, initial)])
      grads[input_index(d, initial)] = select(first.initial, 0, at).clone();
    if (needs_grad[input_index(d, initial_cell)])
      grads[input_index(d, initial_cell)] = select(first.initial_cell, 0, at).clone();
  }
  return grads;
}

// For the second derivative: the reference implementation, recorded.
Grads reference_backward(const RecurrentRecord& record, std::span<const Tensor> dys,
                         NeedsGrad needs_grad) {
  const auto by_reference = [&](const std::vector<Tensor>& inputs) -> std::vector<Tensor> {
    std::vector<RecurrentDirection> directions = record.directions;
    for (std::size_t d = 0; d < directions.size(); ++d)
      for (std::size_t part = 0; part < part_count; ++part)
        directions[d].*recurrent_parts[part] = inputs[input_index(d, part)];
    const RecurrentOutput out =
        recurrent_reference(inputs[0], directions, record.index, record.settings);
    if (!out.last_cell.defined()) return {out.states, out.last};
    return {out.states, out.last, out.last_cell};
  };
  const std::vector<Tensor> inputs(record.inputs.begin(), record.inputs.end());
  return backward_by_reference(by_reference, inputs, dys, needs_grad);
}

}  // namespace

Grads recurrent_backward(const RecurrentRecord& record, std::span<const Tensor> dys,
                         NeedsGrad needs_grad) {
  if (grad_enabled()) return reference_backward(record, dys, needs_grad);
  Grads grads;
  dispatch_float(record.states.get().dtype(), name_of(record.settings.kind),
                 [&]<class T>() { grads = fused_backward<T>(record, dys, needs_grad); });
  return grads;
}

}  // namespace fovea::detail
