#include <fovea/core/dry_run.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/positional.h>

#include <algorithm>
#include <cmath>

namespace fovea::nn {

Tensor sinusoidal_positions(const Tensor& positions, std::int64_t C, DType dtype, double base) {
  if (positions.dtype() != DType::i64)
    dtype_error("sinusoidal_positions", "positions of dtype {}: must be i64",
                name_of(positions.dtype()));
  check_sizes("sinusoidal_positions", {{"C", C}});
  Shape shape = positions.shape();
  shape.push_back(C);
  const Tensor dense = positions.contiguous();
  const auto* at = dense.data<std::int64_t>();
  const auto [least, most] = std::minmax_element(at, at + dense.numel());
  // Repeated positions, as in a packed batch: compute each row once.
  if (dense.numel() > 0 && *least >= 0 && *most < dense.numel() - 1)
    return embedding(sinusoidal_positions(arange(*most + 1), C, dtype, base), dense);
  Tensor table = empty(shape, dtype);  // (..., C)
  if (DryRun::on()) return table;
  dispatch_float(dtype, "sinusoidal_positions", [&]<class T>() {
    T* const p = table.mutable_data<T>();
    for (std::int64_t c = 0; c < C; ++c) {
      const double frequency =
          std::pow(base, -static_cast<double>(c - c % 2) / static_cast<double>(C));
      for (std::int64_t row = 0; row < dense.numel(); ++row) {
        const double angle = static_cast<double>(at[row]) * frequency;
        p[row * C + c] = static_cast<T>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
      }
    }
  });
  return table;
}

PositionalEncoding::PositionalEncoding(PositionalOptions options, Rng& rng) : options_(options) {
  check_sizes("PositionalEncoding", {{"dim", options.dim}});
  if (options.kind != Positions::learned) return;
  check_sizes("PositionalEncoding", {{"max_len", options.max_len}});
  weight = empty({options.max_len, options.dim});
  init::normal(weight, 0.0, 0.02, rng);
  weight.set_requires_grad();
}

Tensor PositionalEncoding::operator()(const Tensor& x, const Tensor& positions) const {
  const Scope in(*this);
  if (x.rank() != 3 || x.dim(2) != options_.dim)
    shape_error("PositionalEncoding", "x {}: must be (B, T, dim = {})", x.shape().str(),
                options_.dim);
  if (!(positions.shape() == Shape{x.dim(1)}) && !(positions.shape() == Shape{x.dim(0), x.dim(1)}))
    shape_error("PositionalEncoding", "x {} and positions {}: must be (B, T, C) and (T) or (B, T)",
                x.shape().str(), positions.shape().str());
  switch (options_.kind) {
    case Positions::sinusoidal:
      return x + sinusoidal_positions(positions, options_.dim, x.dtype());  // (B, T, C)
    case Positions::learned:
      return x + embedding(weight, positions);  // (B, T, C)
    default:
      return x;
  }
}

Tensor PositionalEncoding::operator()(const Tensor& x) const {
  return (*this)(x, arange(x.rank() == 3 ? x.dim(1) : 0));
}

void PositionalEncoding::visit(Visitor& v) { v("weight", weight); }

}  // namespace fovea::nn
