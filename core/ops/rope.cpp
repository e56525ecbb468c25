#include <fovea/core/autograd.h>
#include <fovea/core/kernels/rope.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/rope.h>

#include <cmath>

namespace fovea {
namespace {

// Checks all arguments and returns the number of rotated pairs.
std::int64_t checked_pairs(const Tensor& x, const Tensor& positions, const RopeOptions& options) {
  check_defined("rope", "x", x, "positions", positions);
  if (x.rank() != 4) shape_error("rope", "x {}: must be (B, H, T, D)", x.shape().str());
  const std::int64_t B = x.dim(0), T = x.dim(2), D = x.dim(3);
  if (!(positions.shape() == Shape{T}) && !(positions.shape() == Shape{B, T}))
    shape_error("rope", "x {} and positions {}: must be (B, H, T, D) and (T) or (B, T)",
                x.shape().str(), positions.shape().str());
  if (positions.dtype() != DType::i64)
    dtype_error("rope", "positions are {}: must be i64", name_of(positions.dtype()));
  if (!is_floating(x.dtype()))
    dtype_error("rope", "needs f32 or f64, and got {}", name_of(x.dtype()));
  const std::int64_t dims = options.dims == 0 ? D : options.dims;
  if (dims < 0 || dims > D || dims % 2 != 0)
    value_error("rope", "dims = {} with head width {}: must be even and at most the head width",
                dims, D);
  if (!(options.base > 0) || !std::isfinite(options.base))
    value_error("rope", "base = {}: must be above 0", options.base);
  return dims / 2;
}

kernels::RopeLayout layout_of(const Tensor& x) {
  return {x.strides()[0], x.strides()[1], x.strides()[2]};
}

// A new tensor of x's shape, with x's memory order of heads and positions.
Tensor empty_like(const Tensor& x) {
  const std::int64_t B = x.dim(0), H = x.dim(1), T = x.dim(2), D = x.dim(3);
  if (x.strides()[1] >= x.strides()[2]) return empty(x.shape(), x.dtype());
  return alias(empty({B, T, H, D}, x.dtype()), x.shape(), {T * H * D, D, H * D, 1});
}

// y = x rotated, forwards or backwards.    dx = dy rotated the other way
// Linear in x and its own backward, so the backward can record itself for second derivatives.
Tensor rotated(const Tensor& x, const Tensor& positions, const RopeOptions& options,
               bool backwards) {
  const std::int64_t pairs = checked_pairs(x, positions, options);
  const Tensor rows = x.numel() == 0 || x.strides()[3] == 1 ? x : x.contiguous();
  const Tensor dense_positions = positions.contiguous();
  const bool halves = options.pairing == RopePairing::halves;
  const kernels::RopeSizes sizes{.B = x.dim(0),
                                 .H = x.dim(1),
                                 .T = x.dim(2),
                                 .D = x.dim(3),
                                 .pairs = pairs,
                                 .pair_stride = halves ? 1 : 2,
                                 .other = halves ? pairs : 1,
                                 .table_per_row = positions.rank() == 2};
  Tensor y = empty_like(rows), table = empty({dense_positions.numel(), 2, pairs}, x.dtype());
  dispatch_float(x.dtype(), "rope", [&]<class T>() {
    kernels::rope_angles(dense_positions.data<std::int64_t>(), dense_positions.numel(), pairs,
                         options.base, table.mutable_data<T>());
    kernels::rope(sizes, rows.data<T>(), layout_of(rows), table.data<T>(), backwards,
                  y.mutable_data<T>(), layout_of(y));
  });
  return record<"rope">(
      std::move(y), {rows},
      [dense_positions = keep(dense_positions), options, backwards](const Tensor& dy, NeedsGrad) {
        return Grads(rotated(dy, dense_positions, options, !backwards));
      });
}

}  // namespace

Tensor rope(const Tensor& x, const Tensor& positions, const RopeOptions& options) {
  return rotated(x, positions, options, /*backwards=*/false);
}

Tensor rope_reference(const Tensor& x, const Tensor& positions, const RopeOptions& options) {
  const std::int64_t pairs = checked_pairs(x, positions, options);
  std::vector<double> cosines, sines;
  for (const std::int64_t m : positions.to_vector<std::int64_t>())
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double theta =
          std::pow(options.base, -2.0 * static_cast<double>(i) / static_cast<double>(2 * pairs));
      cosines.push_back(std::cos(static_cast<double>(m) * theta));
      sines.push_back(std::sin(static_cast<double>(m) * theta));
    }
  const std::int64_t T = x.dim(2), rows = positions.rank() == 2 ? x.dim(0) : 1;
  const Tensor c = from_data(cosines, {rows, 1, T, pairs}).to(x.dtype());
  const Tensor s = from_data(sines, {rows, 1, T, pairs}).to(x.dtype());
  const Tensor rotating = slice(x, 3, 0, 2 * pairs), rest = slice(x, 3, 2 * pairs, x.dim(3));
  if (options.pairing == RopePairing::halves) {
    const Tensor a = slice(rotating, 3, 0, pairs), b = slice(rotating, 3, pairs, 2 * pairs);
    return concat({a * c - b * s, a * s + b * c, rest}, 3);  // (B, H, T, D)
  }
  const Tensor a = slice(rotating, 3, 0, 2 * pairs, 2), b = slice(rotating, 3, 1, 2 * pairs, 2);
  const Tensor both = stack({a * c - b * s, a * s + b * c}, 4);  // (B, H, T, D / 2, 2)
  return concat({reshape(both, rotating.shape()), rest}, 3);     // (B, H, T, D)
}

}  // namespace fovea
