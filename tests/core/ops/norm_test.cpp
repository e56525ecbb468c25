#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace fovea;
using namespace fovea::test;

namespace {

using Norm = Tensor (*)(const std::vector<Tensor>&);

// x, weight, bias -> y; a missing input is undefined.
Tensor input(const std::vector<Tensor>& v, std::size_t i) { return i < v.size() ? v[i] : Tensor(); }
Tensor fast_layer(const std::vector<Tensor>& v) {
  return layer_norm(v[0], input(v, 1), input(v, 2));
}
Tensor slow_layer(const std::vector<Tensor>& v) {
  return layer_norm_reference(v[0], input(v, 1), input(v, 2));
}
Tensor fast_rms(const std::vector<Tensor>& v) { return rms_norm(v[0], input(v, 1)); }
Tensor slow_rms(const std::vector<Tensor>& v) { return rms_norm_reference(v[0], input(v, 1)); }

// The value, and the gradient by every input, for a random cotangent.
std::vector<Tensor> value_and_gradients(Norm norm, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    leaves.push_back(x.clone());
    leaves.back().set_requires_grad();
  }
  const Tensor y = norm(leaves);
  Rng rng(9);
  y.backward(randn(y.shape(), rng, y.dtype()));
  std::vector<Tensor> results{y.detach()};
  for (const Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

void check_same(Norm fast, Norm slow, const std::vector<Tensor>& inputs, double bound) {
  const auto got = value_and_gradients(fast, inputs), want = value_and_gradients(slow, inputs);
  for (std::size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(max_difference(got[i], want[i]) <= bound);
  }
}

}  // namespace

TEST_CASE("layer_norm: values by hand") {
  const Tensor y = layer_norm(tensor({{1, 3}, {-2, 6}}), tensor({1, 2}), tensor({0, 10}), 0.0);
  CHECK(max_difference(y, tensor({{-1, 12}, {-1, 12}})) <= 1e-6);
}

TEST_CASE("rms_norm: values by hand") {
  const Tensor y = rms_norm(tensor({{3, 4}, {-5, 5}}), tensor({1, 2}), 0.0);
  const float root = std::sqrt(12.5f);
  CHECK(max_difference(y, tensor({{3 / root, 8 / root}, {-1, 2}})) <= 1e-6);
}

TEST_CASE("norms: values and gradients equal the references, in both dtypes") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Rng rng(1);
    const Tensor x = randn({4, 5, 19}, rng, dtype);
    const Tensor g = randn({19}, rng, dtype), b = randn({19}, rng, dtype);
    const double bound = dtype == DType::f32 ? 2e-5 : 1e-13;
    check_same(fast_layer, slow_layer, {x, g, b}, bound);
    check_same(fast_layer, slow_layer, {x, g}, bound);
    check_same(fast_layer, slow_layer, {x}, bound);
    check_same(fast_rms, slow_rms, {x, g}, bound);
    check_same(fast_rms, slow_rms, {x}, bound);
  }
}

TEST_CASE("layer_norm: a bias without a weight; rows of a view") {
  Rng rng(2);
  const Tensor x = randn({3, 4}, rng), b = randn({4}, rng);
  CHECK(max_difference(layer_norm(x, {}, b), layer_norm(x) + b) <= 1e-6);
  const Tensor turned = transpose(x, 0, 1);
  CHECK(max_difference(layer_norm(turned), layer_norm(turned.clone())) == 0);
}

TEST_CASE("layer_norm: rows have mean 0 and variance 1, at any shift and scale") {
  Rng rng(3);
  const Tensor x = randn({6, 64}, rng, DType::f64);
  const Tensor y = layer_norm(x, {}, {}, 0.0);
  CHECK(max_difference(mean(y, {-1}), zeros({6}, DType::f64)) <= 1e-14);
  CHECK(max_difference(mean(y * y, {-1}), ones({6}, DType::f64)) <= 1e-13);
  CHECK(max_difference(layer_norm(100.0 * x + 7.0, {}, {}, 0.0), y) <= 1e-11);
}

TEST_CASE("norms: sizes 1 and 0, constant rows, NaN stays in its row") {
  CHECK(layer_norm(full({2, 1}, 5)).to_vector<float>() == std::vector<float>{0, 0});
  CHECK(layer_norm(full({1, 3}, 5), {}, tensor({1, 2, 3})).to_vector<float>() ==
        std::vector<float>{1, 2, 3});
  CHECK(rms_norm(zeros({2, 3})).to_vector<float>() == std::vector<float>(6, 0));
  CHECK(layer_norm(zeros({0, 3})).shape() == Shape{0, 3});
  CHECK(layer_norm(zeros({3, 0})).shape() == Shape{3, 0});
  const Tensor y = layer_norm(tensor({{std::numeric_limits<float>::quiet_NaN(), 1}, {1, 3}}));
  CHECK(std::isnan(y.data<float>()[1]));
  CHECK(y.data<float>()[3] == doctest::Approx(1).epsilon(1e-4));
}

TEST_CASE("norms: without rows the weights' gradient is zeros") {
  const auto got = value_and_gradients(fast_layer, {zeros({0, 3}), ones({3}), zeros({3})});
  CHECK(got[2].to_vector<float>() == std::vector<float>(3, 0));
  CHECK(got[3].to_vector<float>() == std::vector<float>(3, 0));
}

TEST_CASE("rms_norm: a row with denormal 1 / rms still gives the weight its gradient") {
  const Tensor x = full({2, 8}, 3e38), w = ones({8}).set_requires_grad();
  const Tensor y = rms_norm(x, w);
  CHECK(max_difference(y, ones({2, 8})) <= 1e-6);
  sum(y).backward();
  CHECK(max_difference(w.grad(), full({8}, 2)) <= 1e-6);
}

TEST_CASE("norms: errors") {
  CHECK(message_of<ShapeError>([] { layer_norm(scalar(1)); }) ==
        "layer_norm: x (): there is no last axis to normalize over");
  CHECK(message_of<ShapeError>([] {
          layer_norm(zeros({2, 3}), zeros({2}));
        }) ==
        "layer_norm: x (2, 3) and weight (2,): weight must have one element for each of the last "
        "axis's 3");
  CHECK(message_of<ShapeError>([] {
          layer_norm(zeros({2, 3}), {}, zeros({1, 3}));
        }) ==
        "layer_norm: x (2, 3) and bias (1, 3): bias must have one element for each of the last "
        "axis's 3");
  CHECK(message_of<DTypeError>([] {
          rms_norm(zeros({2, 3}), zeros({3}, DType::f64));
        }) == "rms_norm: x is f32, weight is f64: dtypes must be equal");
  CHECK(message_of<DTypeError>([] { rms_norm(arange(3)); }) ==
        "rms_norm: needs f32 or f64, and got i64");
}

TEST_CASE("norms: an epsilon that cannot be") {
  for (const double eps : {-1.0, std::nan(""), HUGE_VAL}) {
    CHECK(message_of<ValueError>([&] {
            layer_norm(ones({2, 3}), {}, {}, eps);
          }) == fmt::format("layer_norm: eps = {}: must be finite and at least 0", eps));
    CHECK(message_of<ValueError>([&] {
            rms_norm(ones({2, 3}), {}, eps);
          }) == fmt::format("rms_norm: eps = {}: must be finite and at least 0", eps));
  }
}
