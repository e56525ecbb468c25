#include <fovea/core/dry_run.h>
#include <fovea/nn/init.h>

#include <cmath>
#include <vector>

namespace fovea::nn::init {
namespace {

struct Fans {
  double in, out;
};

Fans fans_of(const char* op, const Tensor& w) {
  if (w.rank() < 2)
    shape_error(op, "w {}: must have at least 2 axes, for fan-in and fan-out", w.shape().str());
  const auto field =
      static_cast<double>(w.numel() / std::max<std::int64_t>(1, w.dim(0) * w.dim(1)));
  return {static_cast<double>(w.dim(1)) * field, static_cast<double>(w.dim(0)) * field};
}

// Modified Gram-Schmidt on the rows of a (rows <= columns). The second pass removes the rounding
// error of the first.
void orthonormalize_rows(std::vector<double>& a, std::int64_t rows, std::int64_t columns) {
  const auto row = [&](std::int64_t i) { return a.data() + i * columns; };
  const auto dot = [&](const double* x, const double* y) {
    double sum = 0;
    for (std::int64_t c = 0; c < columns; ++c) sum += x[c] * y[c];
    return sum;
  };
  for (std::int64_t i = 0; i < rows; ++i) {
    for (int pass = 0; pass < 2; ++pass)
      for (std::int64_t j = 0; j < i; ++j) {
        const double overlap = dot(row(i), row(j));
        for (std::int64_t c = 0; c < columns; ++c) row(i)[c] -= overlap * row(j)[c];
      }
    const double norm = std::sqrt(dot(row(i), row(i)));
    for (std::int64_t c = 0; c < columns; ++c) row(i)[c] /= norm;
  }
}

// w = shift + scale * drawn, in double precision
void set_to(Tensor& w, const char* op, double shift, double scale, Tensor drawn) {
  const std::int64_t n = DryRun::on() ? 0 : drawn.numel();
  dispatch_float(w.dtype(), op, [&]<class T>() {
    T* values = drawn.mutable_data<T>();
    for (std::int64_t i = 0; i < n; ++i)
      values[i] = static_cast<T>(shift + scale * static_cast<double>(values[i]));
  });
  w.copy_from(drawn);
}

// (rows, columns) with orthonormal rows; empty in a dry run.
std::vector<double> orthonormal_rows(std::int64_t rows, std::int64_t columns, Rng& rng) {
  const Tensor drawn = randn({rows, columns}, rng, DType::f64);
  if (DryRun::on()) return {};
  std::vector<double> a = drawn.to_vector<double>();
  orthonormalize_rows(a, rows, columns);
  return a;
}

}  // namespace

Tensor uniform_parameter(const Shape& shape, std::int64_t inputs, Rng& rng) {
  Tensor w = empty(shape);
  const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
  uniform(w, -bound, bound, rng);
  return w.set_requires_grad();
}

void uniform(Tensor& w, double low, double high, Rng& rng) {
  set_to(w, "init::uniform", low, high - low, rand(w.shape(), rng, w.dtype()));
}

void normal(Tensor& w, double mean, double stddev, Rng& rng) {
  set_to(w, "init::normal", mean, stddev, randn(w.shape(), rng, w.dtype()));
}

void xavier_uniform(Tensor& w, Rng& rng, double gain) {
  const Fans fans = fans_of("init::xavier_uniform", w);
  const double a = gain * std::sqrt(6.0 / (fans.in + fans.out));
  uniform(w, -a, a, rng);
}

void xavier_normal(Tensor& w, Rng& rng, double gain) {
  const Fans fans = fans_of("init::xavier_normal", w);
  normal(w, 0.0, gain * std::sqrt(2.0 / (fans.in + fans.out)), rng);
}

void kaiming_uniform(Tensor& w, Rng& rng, double gain) {
  const double b = gain * std::sqrt(3.0 / fans_of("init::kaiming_uniform", w).in);
  uniform(w, -b, b, rng);
}

void kaiming_normal(Tensor& w, Rng& rng, double gain) {
  normal(w, 0.0, gain / std::sqrt(fans_of("init::kaiming_normal", w).in), rng);
}

void orthogonal(Tensor& w, Rng& rng, double gain) {
  if (w.rank() != 2) shape_error("init::orthogonal", "w {}: must be a matrix", w.shape().str());
  const bool wide = w.dim(0) <= w.dim(1);
  const std::int64_t rows = wide ? w.dim(0) : w.dim(1), columns = wide ? w.dim(1) : w.dim(0);
  const std::vector<double> a = orthonormal_rows(rows, columns, rng);
  dispatch_float(w.dtype(), "init::orthogonal", [&]<class T>() {
    Tensor result = empty(w.shape(), w.dtype());
    for (std::int64_t i = 0; i < w.dim(0) && !a.empty(); ++i)
      for (std::int64_t j = 0; j < w.dim(1); ++j) {
        const std::int64_t from = wide ? i * columns + j : j * columns + i;
        result.mutable_data<T>()[i * w.dim(1) + j] =
            static_cast<T>(gain * a[static_cast<std::size_t>(from)]);
      }
    w.copy_from(result);
  });
}

}  // namespace fovea::nn::init
