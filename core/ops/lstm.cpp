#include <fovea/core/autograd.h>
#include <fovea/core/kernels/blas.h>
#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/kernels/reduce.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optional_input.h>
#include <fovea/core/ops/recurrent.h>

namespace fovea {
namespace {

using detail::data_or_null;
using detail::dense_or_none;

void check(const LstmArgs& a, const RaggedIndex& index) {
  if (a.weight.rank() != 2 || a.weight.dim(0) != 4 * a.weight.dim(1))
    shape_error("lstm", "weight {}: it must be (4H, H)", a.weight.shape().str());
  const std::int64_t H = a.weight.dim(1);
  const DType dtype = a.inputs.dtype();
  const auto need = [&](std::string_view name, const Tensor& x, const Shape& shape) {
    detail::check_if_given("lstm", name, x, shape, dtype);
  };
  need("inputs", a.inputs, {index.total(), 4 * H});
  need("weight", a.weight, {4 * H, H});
  need("bias", a.bias, {4 * H});
  need("initial state", a.initial, {index.batch_size(), H});
  need("initial cell", a.initial_cell, {index.batch_size(), H});
}

kernels::RaggedRows rows_of(const RaggedIndex& index, bool reverse) {
  return {index.offsets().data(), index.batch_size(), reverse};
}

// What the forward leaves for the backward.
struct Kept {
  Saved weight, h0, c0, states, gates, cells;
};

// dg by the walk through time; then dW = dg^T h_prev and db = column sums of dg, over all rows.
Grads fused_backward(const Kept& kept, const RaggedIndex& index, bool reverse,
                     std::span<const Tensor> dys, Wanted wanted) {
  const Tensor &weight = kept.weight, &h0 = kept.h0, &c0 = kept.c0, &h = kept.states;
  const std::int64_t N = h.dim(0), H = h.dim(1), B = index.batch_size();
  const DType dtype = h.dtype();
  Tensor dg = empty({N, 4 * H}, dtype), dh0 = empty({B, H}, dtype), dc0 = empty({B, H}, dtype);
  Grads grads(5);
  dispatch_float(dtype, "lstm", [&]<class T>() {
    const kernels::RaggedRows rows = rows_of(index, reverse);
    kernels::lstm_backward(rows, H, weight.data<T>(), data_or_null<T>(c0),
                           kept.gates.get().data<T>(), kept.cells.get().data<T>(),
                           data_or_null<T>(dys[0]), data_or_null<T>(dys[1]),
                           data_or_null<T>(dys[2]), dg.mutable_data<T>(), dh0.mutable_data<T>(),
                           dc0.mutable_data<T>());
    if (wanted[1]) {
      Tensor h_prev = empty({N, H}, dtype), dw = empty({4 * H, H}, dtype);
      kernels::previous_states(rows, H, data_or_null<T>(h0), h.data<T>(), h_prev.mutable_data<T>());
      kernels::gemm(kernels::Trans::yes, kernels::Trans::no, 4 * H, H, N, T(1), dg.data<T>(), 4 * H,
                    h_prev.data<T>(), H, T(0), dw.mutable_data<T>(), H);
      grads[1] = std::move(dw);
    }
    if (wanted[2]) {
      Tensor db = empty({4 * H}, dtype);
      kernels::sum(dg.data<T>(), {1, N, 4 * H}, db.mutable_data<T>());
      grads[2] = std::move(db);
    }
  });
  grads[0] = std::move(dg);
  if (wanted[3]) grads[3] = std::move(dh0);
  if (wanted[4]) grads[4] = std::move(dc0);
  return grads;
}

}  // namespace

LstmOutput lstm(const LstmArgs& args, const RaggedIndex& index, bool reverse) {
  check(args, index);
  const std::int64_t N = index.total(), B = index.batch_size(), H = args.weight.dim(1);
  const DType dtype = args.inputs.dtype();
  const Tensor gi = args.inputs.contiguous(), weight = args.weight.contiguous();
  const Tensor bias = dense_or_none(args.bias), h0 = dense_or_none(args.initial),
               c0 = dense_or_none(args.initial_cell);
  Tensor y = empty({N, H}, dtype), hn = empty({B, H}, dtype), cn = empty({B, H}, dtype);
  Tensor gates = empty({N, 4 * H}, dtype), cells = empty({N, H}, dtype);
  dispatch_float(dtype, "lstm", [&]<class T>() {
    kernels::lstm_forward(rows_of(index, reverse), H, gi.data<T>(), weight.data<T>(),
                          data_or_null<T>(bias), data_or_null<T>(h0), data_or_null<T>(c0),
                          y.mutable_data<T>(), hn.mutable_data<T>(), cn.mutable_data<T>(),
                          gates.mutable_data<T>(), cells.mutable_data<T>());
  });
  const Tensor states = numbers_of(y);  // y without the history it will get
  Kept kept{keep(weight), keep(h0), keep(c0), keep(states), keep(gates), keep(cells)};
  auto backward = [gi = keep(gi), bias = keep(bias), kept = std::move(kept), index, reverse](
                      std::span<const Tensor> dys, Wanted wanted) -> Grads {
    if (!grad_enabled()) return fused_backward(kept, index, reverse, dys, wanted);
    const auto twin = [&](const std::vector<Tensor>& x) -> std::vector<Tensor> {
      const LstmOutput out = lstm_reference({x[0], x[1], x[2], x[3], x[4]}, index, reverse);
      return {out.states, out.last, out.last_cell};
    };
    const Tensor inputs[] = {gi, kept.weight, bias, kept.h0, kept.c0};
    return backward_by_twin(twin, inputs, dys, wanted);
  };
  std::vector<Tensor> out = record_outputs<"lstm">({std::move(y), std::move(hn), std::move(cn)},
                                                   {gi, weight, bias, h0, c0}, std::move(backward));
  return {std::move(out[0]), std::move(out[1]), std::move(out[2])};
}

LstmOutput lstm_reference(const LstmArgs& args, const RaggedIndex& index, bool reverse) {
  check(args, index);
  const std::int64_t H = args.weight.dim(1);
  const DType dtype = args.inputs.dtype();
  const auto start = [&](const Tensor& initial, std::int64_t b) {
    return initial.defined() ? slice(initial, 0, b, b + 1) : zeros({1, H}, dtype);
  };
  std::vector<Tensor> rows(static_cast<std::size_t>(index.total())), last, last_cell;
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    Tensor h = start(args.initial, b), c = start(args.initial_cell, b);  // (1, H)
    for (std::int64_t step = 0; step < index.length(b); ++step) {
      const std::int64_t row = reverse ? index.offset(b + 1) - 1 - step : index.offset(b) + step;
      const std::vector<Tensor> g =
          chunk(slice(args.inputs, 0, row, row + 1) + linear(h, args.weight, args.bias), 4, 1);
      c = sigmoid(g[1]) * c + sigmoid(g[0]) * tanh(g[2]);
      h = sigmoid(g[3]) * tanh(c);
      rows[static_cast<std::size_t>(row)] = h;
    }
    last.push_back(h);
    last_cell.push_back(c);
  }
  const auto joined = [&](const std::vector<Tensor>& parts) {  // nothing to join: no sequences
    return parts.empty() ? empty({0, H}, dtype) : concat(parts, 0);
  };
  return {joined(rows), joined(last), joined(last_cell)};
}

}  // namespace fovea
