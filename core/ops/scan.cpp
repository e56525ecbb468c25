#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/kernels/reduce.h>
#include <fovea/core/kernels/scan.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/optional_input_detail.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/sizes.h>

#include <cmath>

namespace fovea {
namespace {

using detail::data_or_null;
using detail::dense_or_none;
using kernels::ScanNumbers;

void check(const char* op, ScanNumbers numbers, const Tensor& a, const Tensor& b,
           const Tensor& initial, const RaggedIndex& index) {
  check_defined(op, "a", a, "b", b);
  if (b.rank() != 2 || b.dim(0) != index.total())
    shape_error(op, "b {}: must be ({}, width), one row per step of each sequence", b.shape().str(),
                index.total());
  const std::int64_t W = b.dim(1);
  if (numbers == ScanNumbers::complex && W % 2 != 0)
    shape_error(op, "b {}: width must be even (real parts, then imaginary parts)", b.shape().str());
  if (!(a.shape() == Shape{W}) && !(a.shape() == b.shape()))
    shape_error(op, "a {}: must be {} like b, or {} for all steps", a.shape().str(),
                b.shape().str(), Shape{W}.str());
  if (a.dtype() != b.dtype())
    dtype_error(op, "a is {}, b is {}: dtypes must be equal", name_of(a.dtype()),
                name_of(b.dtype()));
  detail::check_if_given(op, "initial state", initial, {index.batch_size(), W}, b.dtype());
}

// One sequence and one step at a time.    times(a, h): (1, W), (1, W) -> (1, W)
template <class Times>
ScanOutput step_by_step(const Tensor& a, const Tensor& b, const Tensor& initial,
                        const RaggedIndex& index, bool reverse, const Times& times) {
  const std::int64_t W = b.dim(1);
  auto rows = checked_vector<Tensor>("scan", "rows", index.total());
  std::vector<Tensor> last;
  for (std::int64_t s = 0; s < index.batch_size(); ++s) {
    Tensor h = initial.defined() ? slice(initial, 0, s, s + 1) : zeros({1, W}, b.dtype());
    for (std::int64_t step = 0; step < index.length(s); ++step) {
      const std::int64_t row = reverse ? index.offset(s + 1) - 1 - step : index.offset(s) + step;
      const Tensor a_t = a.rank() == 1 ? unsqueeze(a, 0) : slice(a, 0, row, row + 1);
      h = times(a_t, h) + slice(b, 0, row, row + 1);
      rows[static_cast<std::size_t>(row)] = h;
    }
    last.push_back(h);
  }
  const auto joined =
      [&](const std::vector<Tensor>& parts) {  // no sequences: concat() requires a tensor
        return parts.empty() ? empty({0, W}, b.dtype()) : concat(parts, 0);
      };
  return {joined(rows), joined(last)};
}

// (re, im) of an elementwise complex product.
Tensor complex_product(const Tensor& a, const Tensor& h) {
  const std::vector<Tensor> x = chunk(a, 2, 1), y = chunk(h, 2, 1);
  return concat({x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]}, 1);
}

ScanOutput reference(const char* op, ScanNumbers numbers, const Tensor& a, const Tensor& b,
                     const Tensor& initial, const RaggedIndex& index, bool reverse) {
  check(op, numbers, a, b, initial, index);
  return numbers == ScanNumbers::complex && b.dim(1) > 0
             ? step_by_step(a, b, initial, index, reverse, complex_product)
             : step_by_step(a, b, initial, index, reverse,
                            [](const Tensor& x, const Tensor& y) { return x * y; });
}

struct Direction {
  RaggedIndex index;
  ScanNumbers numbers;
  bool reverse;

  kernels::RaggedRows rows() const { return {index.offsets().data(), index.batch_size(), reverse}; }
  kernels::ScanSizes sizes(const Tensor& a, const Tensor& b) const {
    const std::int64_t W = b.dim(1);
    return {numbers == ScanNumbers::complex ? W / 2 : W, numbers, a.rank() == 2};
  }
};

Grads fused_backward(const char* op, const Direction& along, const Tensor& a, const Tensor& h0,
                     const Tensor& h, std::span<const Tensor> dys, NeedsGrad needs_grad) {
  const std::int64_t N = h.dim(0), W = h.dim(1);
  Tensor da, db = empty({N, W}, h.dtype());
  Tensor dh0 = empty({along.index.batch_size(), W}, h.dtype());
  if (needs_grad[0]) da = empty({N, W}, h.dtype());
  dispatch_float(h.dtype(), op, [&]<class T>() {
    kernels::scan_backward(along.rows(), along.sizes(a, h), a.data<T>(), data_or_null<T>(h0),
                           h.data<T>(), data_or_null<T>(dys[0]), data_or_null<T>(dys[1]),
                           db.mutable_data<T>(), da.defined() ? da.mutable_data<T>() : nullptr,
                           dh0.mutable_data<T>());
    if (!da.defined() || a.rank() == 2) return;
    Tensor of_all_steps = empty({W}, h.dtype());
    kernels::sum(da.data<T>(), {1, N, W}, of_all_steps.mutable_data<T>());
    da = std::move(of_all_steps);
  });
  Grads grads(3);
  grads[0] = std::move(da);
  grads[1] = std::move(db);
  if (needs_grad[2]) grads[2] = std::move(dh0);
  return grads;
}

template <detail::OpName Name>
ScanOutput fused(const Tensor& a_, const Tensor& b_, const Tensor& initial,
                 const Direction& along) {
  check(Name.chars, along.numbers, a_, b_, initial, along.index);
  const Tensor a = a_.contiguous(), b = b_.contiguous(), h0 = dense_or_none(initial);
  Tensor h = empty(b.shape(), b.dtype());
  Tensor last = empty({along.index.batch_size(), b.dim(1)}, b.dtype());
  dispatch_float(b.dtype(), Name.chars, [&]<class T>() {
    kernels::scan_forward(along.rows(), along.sizes(a, b), a.data<T>(), b.data<T>(),
                          data_or_null<T>(h0), h.mutable_data<T>(), last.mutable_data<T>());
  });
  const Tensor states = without_graph(h);  // detached
  auto backward = [a = keep(a), b = keep(b), h0 = keep(h0), h = keep(states), along](
                      std::span<const Tensor> dys, NeedsGrad needs_grad) -> Grads {
    if (!grad_enabled()) return fused_backward(Name.chars, along, a, h0, h, dys, needs_grad);
    const auto by_reference = [&](const std::vector<Tensor>& x) -> std::vector<Tensor> {
      const ScanOutput out =
          reference(Name.chars, along.numbers, x[0], x[1], x[2], along.index, along.reverse);
      return {out.states, out.last};
    };
    const Tensor inputs[] = {a, b, h0};
    return backward_by_reference(by_reference, inputs, dys, needs_grad);
  };
  std::vector<Tensor> out =
      record_outputs<Name>({std::move(h), std::move(last)}, {a, b, h0}, std::move(backward));
  return {std::move(out[0]), std::move(out[1])};
}

// i z.    z: (2H), real parts, then imaginary parts
Tensor quarter_turn(const Tensor& z) {
  const std::vector<Tensor> part = split(z, z.dim(0) / 2);
  return concat({-part[1], part[0]});
}

// The elementwise real part of conj(x) y.    (2H), (2H) -> (H)
Tensor dot(const Tensor& x, const Tensor& y) {
  const std::vector<Tensor> product = split(x * y, x.dim(0) / 2);
  return product[0] + product[1];
}

}  // namespace

ScanOutput linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                             const RaggedIndex& index, bool reverse) {
  return fused<"linear_recurrence">(a, b, initial, {index, ScanNumbers::real, reverse});
}

ScanOutput linear_recurrence_reference(const Tensor& a, const Tensor& b, const Tensor& initial,
                                       const RaggedIndex& index, bool reverse) {
  return reference("linear_recurrence", ScanNumbers::real, a, b, initial, index, reverse);
}

ScanOutput complex_linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                                     const RaggedIndex& index, bool reverse) {
  return fused<"complex_linear_recurrence">(a, b, initial, {index, ScanNumbers::complex, reverse});
}

ScanOutput complex_linear_recurrence_reference(const Tensor& a, const Tensor& b,
                                               const Tensor& initial, const RaggedIndex& index,
                                               bool reverse) {
  return reference("complex_linear_recurrence", ScanNumbers::complex, a, b, initial, index,
                   reverse);
}

Tensor polar(const Tensor& radius, const Tensor& angle) {
  check_defined("polar", "radius", radius, "angle", angle);
  if (radius.rank() != 1 || !(radius.shape() == angle.shape()))
    shape_error("polar", "radius {}, angle {}: both must be (H)", radius.shape().str(),
                angle.shape().str());
  if (radius.dtype() != angle.dtype())
    dtype_error("polar", "radius {}, angle {}: dtypes must be equal", name_of(radius.dtype()),
                name_of(angle.dtype()));
  const Tensor r = radius.contiguous(), phi = angle.contiguous();
  const std::int64_t H = r.dim(0);
  Tensor z = empty({2 * H}, r.dtype());
  const std::int64_t n = DryRun::on() ? 0 : H;
  dispatch_float(r.dtype(), "polar", [&]<class T>() {
    T* part = z.mutable_data<T>();
    for (std::int64_t i = 0; i < n; ++i) {
      part[i] = r.data<T>()[i] * std::cos(phi.data<T>()[i]);
      part[H + i] = r.data<T>()[i] * std::sin(phi.data<T>()[i]);
    }
  });
  return record<"polar">(
      std::move(z), {r, phi},
      [r = keep(r), phi = keep(phi)](const Tensor& dz, NeedsGrad needs_grad) -> Grads {
        Grads grads(2);
        const Tensor one = ones(r.get().shape(), r.get().dtype());
        if (needs_grad[0]) grads[0] = dot(polar(one, phi), dz);
        if (needs_grad[1]) grads[1] = dot(quarter_turn(polar(r, phi)), dz);
        return grads;
      });
}

}  // namespace fovea
