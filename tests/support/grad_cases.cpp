#include <fovea/core/random.h>
#include <fovea/tests/support/grad_cases.h>

#include <cmath>

namespace fovea::test {
namespace {

std::vector<GradCase>& table() {
  static std::vector<GradCase> cases;
  return cases;
}

}  // namespace

bool add_grad_cases(std::initializer_list<GradCase> cases) {
  table().insert(table().end(), cases);
  return true;
}

const std::vector<GradCase>& grad_cases() { return table(); }

Tensor randn64(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  return randn(shape, rng, DType::f64);
}

Tensor uniform64(const Shape& shape, double low, double high, std::uint64_t seed) {
  Rng rng(seed);
  Tensor x = rand(shape, rng, DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    double& value = x.mutable_data<double>()[i];
    value = low + (high - low) * value;
  }
  return x;
}

Tensor away_from_zero64(const Shape& shape, double gap, std::uint64_t seed) {
  Tensor x = randn64(shape, seed);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    double& value = x.mutable_data<double>()[i];
    value += std::copysign(gap, value);
  }
  return x;
}

}  // namespace fovea::test
