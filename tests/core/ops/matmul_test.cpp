#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

// Integers, small enough for every product and sum to be exact in any order.
Tensor whole(const Shape& shape, int seed = 1) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>((7 * i + static_cast<std::size_t>(seed)) % 11) - 5;
  return from_data(values, shape);
}

// (rows, K) x (K, cols), by naive loops, one matrix.
std::vector<double> naive(const double* a, const double* b, int64_t M, int64_t K, int64_t N) {
  std::vector<double> y(static_cast<std::size_t>(M * N));
  for (int64_t i = 0; i < M; ++i)
    for (int64_t j = 0; j < N; ++j)
      for (int64_t k = 0; k < K; ++k)
        y[static_cast<std::size_t>(i * N + j)] += a[i * K + k] * b[k * N + j];
  return y;
}

std::vector<double> values(const Tensor& x) { return x.to_vector<double>(); }

}  // namespace

TEST_CASE("matmul: two matrices") {
  const Tensor a = tensor({{1, 2, 3}, {4, 5, 6}}), b = tensor({{1, 0}, {0, 1}, {1, 1}});
  const Tensor y = matmul(a, b);  // (2, 2)
  CHECK(y.shape() == Shape{2, 2});
  CHECK(y.dtype() == DType::f32);
  CHECK(values(y) == std::vector<double>{4, 5, 10, 11});
}

TEST_CASE("matmul: shapes by PyTorch's rules") {
  const auto shape = [](const Shape& a, const Shape& b) {
    return matmul(whole(a), whole(b)).shape();
  };
  CHECK(shape({3}, {3}) == Shape{});
  CHECK(shape({3}, {3, 4}) == Shape{4});
  CHECK(shape({2, 3}, {3}) == Shape{2});
  CHECK(shape({5, 2, 3}, {3}) == Shape{5, 2});
  CHECK(shape({3}, {5, 3, 4}) == Shape{5, 4});
  CHECK(shape({5, 2, 3}, {3, 4}) == Shape{5, 2, 4});
  CHECK(shape({2, 3}, {5, 3, 4}) == Shape{5, 2, 4});
  CHECK(shape({6, 1, 2, 3}, {5, 3, 4}) == Shape{6, 5, 2, 4});
  CHECK(shape({0, 3}, {3, 4}) == Shape{0, 4});
  CHECK(shape({0, 2, 3}, {0, 3, 4}) == Shape{0, 2, 4});
}

TEST_CASE("matmul: vectors are a row on the left and a column on the right") {
  const Tensor v = tensor({1, 10}), m = tensor({{1, 2}, {3, 4}});
  CHECK(values(matmul(v, m)) == std::vector<double>{31, 42});
  CHECK(values(matmul(m, v)) == std::vector<double>{21, 43});
  CHECK(matmul(v, v).item() == 101);
}

TEST_CASE("matmul: an empty inner axis gives zeros") {
  CHECK(values(matmul(whole({2, 0}), whole({0, 3}))) == std::vector<double>(6, 0));
  CHECK(matmul(whole({0}), whole({0})).item() == 0);
}

TEST_CASE("matmul: a batch equals its matrices one by one, also broadcast") {
  const Tensor a = whole({3, 1, 4, 5}, 1), b = whole({2, 5, 6}, 2);
  const std::vector<double> y = values(matmul(a, b));  // (3, 2, 4, 6)
  REQUIRE(y.size() == 3 * 2 * 4 * 6);
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 2; ++j) {
      const auto want = naive(a.data<double>() + i * 20, b.data<double>() + j * 30, 4, 5, 6);
      const auto first = y.begin() + (i * 2 + j) * 24;
      CHECK(std::vector<double>(first, first + 24) == want);
    }
  }
}

TEST_CASE("matmul: views are read without a copy") {
  const Tensor a = whole({2, 3, 4, 5}, 1), b = whole({2, 3, 5, 6}, 2), w = whole({5, 6}, 3);
  const auto same = [](const Tensor& x, const Tensor& y, const Tensor& dense_x,
                       const Tensor& dense_y) {
    CHECK_FALSE(x.is_contiguous());
    CHECK(values(matmul(x, y)) == values(matmul(dense_x, dense_y)));
  };
  const Tensor a_by_columns = transpose(transpose(a, -1, -2).contiguous(), -1, -2);
  const Tensor a_heads_last = transpose(transpose(a, 1, 2).contiguous(), 1, 2);
  const Tensor b_by_columns = transpose(transpose(b, -1, -2).contiguous(), -1, -2);
  const Tensor every_other = alias(whole({2, 3, 4, 10}), {2, 3, 4, 5}, {120, 40, 10, 2});
  for (const Tensor& right : {b, b_by_columns, w}) {
    const Tensor dense = right.contiguous();
    same(a_by_columns, right, a, dense);
    same(a_heads_last, right, a, dense);
    same(every_other, right, every_other.contiguous(), dense);
  }
  const Tensor row = whole({1, 5}), stretched = alias(row, {4, 5}, {0, 1});
  same(stretched, w, stretched.contiguous(), w);
}

TEST_CASE("matmul: NaN and infinity stay in their rows and columns") {
  Tensor a = ones({3, 4});
  a.mutable_data<float>()[5] = std::numeric_limits<float>::infinity();
  Tensor b = ones({4, 2});
  b.mutable_data<float>()[1] = std::numeric_limits<float>::quiet_NaN();
  const auto y = matmul(a, b).to_vector<float>();
  CHECK(y[0] == 4);
  CHECK(std::isnan(y[1]));
  CHECK(y[2] == std::numeric_limits<float>::infinity());
  CHECK(y[4] == 4);
}

TEST_CASE("matmul: errors name both shapes and the requirement") {
  CHECK_THROWS_WITH_AS(
      matmul(whole({2, 3}), whole({4, 5})),
      "matmul: a (2, 3) and b (4, 5): a has 3 columns and b 4 rows, which must be equal",
      ShapeError);
  CHECK_THROWS_WITH_AS(
      matmul(whole({2, 3}), whole({4})),
      "matmul: a (2, 3) and b (4,): a has 3 columns and b 4 rows, which must be equal", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(whole({}), whole({4})),
                       "matmul: a () and b (4,): a scalar has no rows, multiply it with *",
                       ShapeError);
  CHECK_THROWS_AS(matmul(whole({2, 3, 4}), whole({5, 4, 3})), ShapeError);
  CHECK_THROWS_WITH_AS(matmul(whole({2, 2}), ones({2, 2})),
                       "matmul: a is f64 and b is f32: dtypes must be equal", DTypeError);
  CHECK_THROWS_WITH_AS(matmul(arange(3), arange(3)), "matmul: needs f32 or f64, and got i64",
                       DTypeError);
}

TEST_CASE("matmul: saves only what a required gradient needs") {
  Tensor a = whole({2, 3}), b = whole({3, 2});
  b.set_requires_grad();
  Tensor y = matmul(a, b);
  b.mutable_data<double>()[0] = 9;  // not saved: only dB is required, which needs A
  y.backward(ones({2, 2}, DType::f64));
  CHECK(values(b.grad()) == values(matmul(transpose(a, 0, 1), ones({2, 2}, DType::f64))));
}

TEST_CASE("matmul: the gradient of a matrix shared by a batch is the sum over the batch") {
  Tensor a = whole({3, 2, 4}), w = whole({4, 5}, 2);
  w.set_requires_grad();
  const Tensor dy = whole({3, 2, 5}, 3);
  matmul(a, w).backward(dy);
  const Tensor rows = reshape(a, {6, 4}), drows = reshape(dy, {6, 5});
  CHECK(values(w.grad()) == values(matmul(transpose(rows, 0, 1), drows)));

  Tensor empty_batch = zeros({0, 2, 4}, DType::f64);
  w.zero_grad();
  matmul(empty_batch, w).backward(zeros({0, 2, 5}, DType::f64));
  CHECK(values(w.grad()) == std::vector<double>(20, 0));
}

TEST_CASE("linear: x W^T + b on the last axis") {
  const Tensor x = whole({2, 3, 4}, 1), w = whole({5, 4}, 2), b = whole({5}, 3);
  const std::vector<double> plain = values(matmul(x, transpose(w, 0, 1)));  // (2, 3, 5)
  CHECK(linear(x, w).shape() == Shape{2, 3, 5});
  CHECK(values(linear(x, w)) == plain);
  std::vector<double> shifted = plain;
  for (std::size_t i = 0; i < shifted.size(); ++i) shifted[i] += b.data<double>()[i % 5];
  CHECK(values(linear(x, w, b)) == shifted);
}

TEST_CASE("linear: one vector, no rows, no inputs") {
  const Tensor w = whole({3, 2}), b = whole({3}, 4);
  CHECK(linear(whole({2}), w, b).shape() == Shape{3});
  CHECK(values(linear(whole({2}), w, b)) == values(linear(whole({1, 2}), w, b)));
  CHECK(linear(whole({0, 2}), w, b).shape() == Shape{0, 3});
  CHECK(values(linear(whole({2, 0}), whole({3, 0}), b)) ==
        std::vector<double>{-1, -5, 2, -1, -5, 2});
}

TEST_CASE("linear: gradients") {
  Tensor x = whole({2, 3, 4}, 1), w = whole({5, 4}, 2), b = whole({5}, 3);
  for (Tensor* leaf : {&x, &w, &b}) leaf->set_requires_grad();
  const Tensor dy = whole({2, 3, 5}, 4);
  linear(x, w, b).backward(dy);
  const Tensor rows = reshape(dy, {6, 5});
  CHECK(values(x.grad()) == values(matmul(dy, w)));
  CHECK(values(w.grad()) == values(matmul(transpose(rows, 0, 1), reshape(x, {6, 4}))));
  CHECK(values(b.grad()) == values(matmul(ones({6}, DType::f64), rows)));
}

TEST_CASE("linear: errors") {
  const Tensor x = whole({2, 3}), w = whole({4, 3}), b = whole({4});
  CHECK_THROWS_WITH_AS(
      linear(x, whole({4, 2}), b),
      "linear: x (2, 3) and weight (4, 2): x must be (..., in) and weight (out, in)", ShapeError);
  CHECK_THROWS_AS(linear(x, whole({3}), b), ShapeError);
  CHECK_THROWS_AS(linear(whole({}), w, b), ShapeError);
  CHECK_THROWS_WITH_AS(
      linear(x, w, whole({3})),
      "linear: weight (4, 3) and bias (3,): weight must be (out, in) and bias (out)", ShapeError);
  CHECK_THROWS_WITH_AS(linear(x, w, ones({4})),
                       "linear: x is f64, weight f64 and bias f32: dtypes must be equal",
                       DTypeError);
  CHECK_THROWS_WITH_AS(linear(x, ones({4, 3})),
                       "linear: x is f64, weight f32 and bias absent: dtypes must be equal",
                       DTypeError);
  CHECK_THROWS_WITH_AS(linear(reshape(arange(6), {2, 3}), reshape(arange(6), {2, 3})),
                       "linear: needs f32 or f64, and got i64", DTypeError);
}
