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

void check(const GruArgs& a, const RaggedIndex& index) {
  if (a.weight.rank() != 2 || a.weight.dim(0) != 3 * a.weight.dim(1))
    shape_error("gru", "weight {}: it must be (3H, H)", a.weight.shape().str());
  const std::int64_t H = a.weight.dim(1);
  const DType dtype = a.inputs.dtype();
  const auto need = [&](std::string_view name, const Tensor& x, const Shape& shape) {
    detail::check_if_given("gru", name, x, shape, dtype);
  };
  need("inputs", a.inputs, {index.total(), 3 * H});
  need("weight", a.weight, {3 * H, H});
  need("bias", a.bias, {3 * H});
  need("initial state", a.initial, {index.batch_size(), H});
}

kernels::RaggedRows rows_of(const RaggedIndex& index, bool reverse) {
  return {index.offsets().data(), index.batch_size(), reverse};
}

// What the walk through time gives besides dgi: the gradients of the weights follow from it in one
// product each, over all rows at once.
struct WeightGrads {
  Tensor weight, bias;
};

// dW = dgh^T h_prev,  db = column sums of dgh.    dgh is dgi but for its last third, dgh_n.
template <class T>
WeightGrads weight_grads(const Tensor& dgi, const Tensor& dgh_n, const Tensor& h_prev,
                         Wanted wanted) {
  const std::int64_t N = dgi.dim(0), H = h_prev.dim(1);
  WeightGrads grads;
  if (wanted[1]) {
    grads.weight = empty({3 * H, H}, dgi.dtype());
    T* dw = grads.weight.mutable_data<T>();
    const T* h = h_prev.data<T>();
    using kernels::Trans;
    kernels::gemm(Trans::yes, Trans::no, 2 * H, H, N, T(1), dgi.data<T>(), 3 * H, h, H, T(0), dw,
                  H);
    kernels::gemm(Trans::yes, Trans::no, H, H, N, T(1), dgh_n.data<T>(), H, h, H, T(0),
                  dw + 2 * H * H, H);
  }
  if (wanted[2]) {
    grads.bias = empty({3 * H}, dgi.dtype());
    T* db = grads.bias.mutable_data<T>();
    std::vector<T> all(static_cast<std::size_t>(3 * H));
    kernels::sum(dgi.data<T>(), {1, N, 3 * H}, all.data());
    std::copy_n(all.data(), 2 * H, db);
    kernels::sum(dgh_n.data<T>(), {1, N, H}, db + 2 * H);
  }
  return grads;
}

// A row's cell in plain ops.    gi: (1, 3H)  h: (1, H)  ->  (1, H)
Tensor cell_reference(const Tensor& gi, const Tensor& h, const Tensor& weight, const Tensor& bias) {
  const std::vector<Tensor> i = chunk(gi, 3, 1), g = chunk(linear(h, weight, bias), 3, 1);
  const Tensor r = sigmoid(i[0] + g[0]);
  const Tensor z = sigmoid(i[1] + g[1]);
  const Tensor n = tanh(i[2] + r * g[2]);
  return (1.0 - z) * n + z * h;
}

}  // namespace

RecurrentOutput gru(const GruArgs& args, const RaggedIndex& index, bool reverse) {
  check(args, index);
  const std::int64_t N = index.total(), B = index.batch_size(), H = args.weight.dim(1);
  const DType dtype = args.inputs.dtype();
  const Tensor gi = args.inputs.contiguous(), weight = args.weight.contiguous();
  const Tensor bias = dense_or_none(args.bias), h0 = dense_or_none(args.initial);
  Tensor y = empty({N, H}, dtype), hn = empty({B, H}, dtype), gates = empty({N, 4 * H}, dtype);
  dispatch_float(dtype, "gru", [&]<class T>() {
    kernels::gru_forward(rows_of(index, reverse), H, gi.data<T>(), weight.data<T>(),
                         data_or_null<T>(bias), data_or_null<T>(h0), y.mutable_data<T>(),
                         hn.mutable_data<T>(), gates.mutable_data<T>());
  });
  const Tensor states = numbers_of(y);  // y without the history it will get
  auto backward = [gi = keep(gi), weight = keep(weight), bias = keep(bias), h0 = keep(h0),
                   y = keep(states), gates = keep(gates), index,
                   reverse](std::span<const Tensor> dys, Wanted wanted) -> Grads {
    if (grad_enabled()) {
      const auto twin = [&](const std::vector<Tensor>& x) -> std::vector<Tensor> {
        const RecurrentOutput out = gru_reference({x[0], x[1], x[2], x[3]}, index, reverse);
        return {out.states, out.last};
      };
      const Tensor inputs[] = {gi, weight, bias, h0};
      return backward_by_twin(twin, inputs, dys, wanted);
    }
    const Tensor &w = weight, &initial = h0, &h = y;
    const std::int64_t rows = h.dim(0), width = h.dim(1);
    Tensor dgi = empty({rows, 3 * width}, h.dtype()), dgh_n = empty(h.shape(), h.dtype());
    Tensor dh0 = empty({index.batch_size(), width}, h.dtype());
    Grads grads(4);
    dispatch_float(h.dtype(), "gru", [&]<class T>() {
      const kernels::RaggedRows ragged = rows_of(index, reverse);
      kernels::gru_backward(ragged, width, w.data<T>(), data_or_null<T>(initial), h.data<T>(),
                            gates.get().data<T>(), data_or_null<T>(dys[0]), data_or_null<T>(dys[1]),
                            dgi.mutable_data<T>(), dgh_n.mutable_data<T>(), dh0.mutable_data<T>());
      Tensor h_prev = empty(h.shape(), h.dtype());
      kernels::previous_states(ragged, width, data_or_null<T>(initial), h.data<T>(),
                               h_prev.mutable_data<T>());
      WeightGrads of_weights = weight_grads<T>(dgi, dgh_n, h_prev, wanted);
      grads[1] = std::move(of_weights.weight);
      grads[2] = std::move(of_weights.bias);
    });
    grads[0] = std::move(dgi);
    if (wanted[3]) grads[3] = std::move(dh0);
    return grads;
  };
  std::vector<Tensor> out = record_outputs<"gru">({std::move(y), std::move(hn)},
                                                  {gi, weight, bias, h0}, std::move(backward));
  return {std::move(out[0]), std::move(out[1])};
}

RecurrentOutput gru_reference(const GruArgs& args, const RaggedIndex& index, bool reverse) {
  check(args, index);
  const std::int64_t H = args.weight.dim(1);
  std::vector<Tensor> rows(static_cast<std::size_t>(index.total())), last;
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    Tensor h = args.initial.defined() ? slice(args.initial, 0, b, b + 1)
                                      : zeros({1, H}, args.inputs.dtype());
    for (std::int64_t step = 0; step < index.length(b); ++step) {
      const std::int64_t row = reverse ? index.offset(b + 1) - 1 - step : index.offset(b) + step;
      h = cell_reference(slice(args.inputs, 0, row, row + 1), h, args.weight, args.bias);
      rows[static_cast<std::size_t>(row)] = h;
    }
    last.push_back(h);
  }
  const DType dtype = args.inputs.dtype();  // nothing to join where there are no rows, or sequences
  return {rows.empty() ? empty({0, H}, dtype) : concat(rows, 0),
          last.empty() ? empty({0, H}, dtype) : concat(last, 0)};
}

}  // namespace fovea
