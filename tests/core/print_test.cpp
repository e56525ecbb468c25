#include <fovea/core/print.h>

#include <cmath>
#include <limits>
#include <sstream>

#include <doctest/doctest.h>

using namespace fovea;

TEST_CASE("print: a matrix with aligned columns") {
  CHECK(to_string(tensor({{1, 2}, {3, 4}})) ==
        "tensor([[1.0000, 2.0000],\n"
        "        [3.0000, 4.0000]], shape (2, 2), f32)");
  CHECK(to_string(tensor({{-1, 2.5}, {33, 0}})) ==
        "tensor([[-1.0000,  2.5000],\n"
        "        [33.0000,  0.0000]], shape (2, 2), f32)");
  std::ostringstream stream;
  stream << tensor({1, 2});
  CHECK(stream.str() == "tensor([1.0000, 2.0000], shape (2,), f32)");
}

TEST_CASE("print: every type, no axes, no elements, no tensor") {
  CHECK(to_string(from_data(std::vector<int64_t>{-5, 10, 3}, {3})) ==
        "tensor([-5, 10,  3], shape (3,), i64)");
  CHECK(to_string(from_data(std::vector<bool>{true, false}, {2})) ==
        "tensor([ true, false], shape (2,), bool)");
  CHECK(to_string(scalar(2.5, DType::f64)) == "tensor(2.5000, shape (), f64)");
  CHECK(to_string(zeros({0, 3})) == "tensor([], shape (0, 3), f32)");
  CHECK(to_string(zeros({0})) == "tensor([], shape (0,), f32)");
  CHECK(to_string(Tensor()) == "tensor(undefined)");
}

TEST_CASE("print: NaN and infinities affect the alignment, not the notation") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(to_string(tensor({1, std::nanf(""), -infinity, infinity})) ==
        "tensor([1.0000,    nan,   -inf,    inf], shape (4,), f32)");
}

TEST_CASE("print: scientific notation where fixed point would hide digits") {
  CHECK(to_string(tensor({1, 2e-5f})) == "tensor([1.0000e+00, 2.0000e-05], shape (2,), f32)");
  CHECK(to_string(scalar(1e8)) == "tensor(1.0000e+08, shape (), f32)");
  CHECK(to_string(tensor({0.5f, 501})) == "tensor([5.0000e-01, 5.0100e+02], shape (2,), f32)");
  CHECK(to_string(tensor({0.5f, 500, 0})) ==
        "tensor([  0.5000, 500.0000,   0.0000], shape (3,), f32)");
}

TEST_CASE("print: three axes have an empty line between the matrices") {
  CHECK(to_string(from_data(std::vector<int64_t>{1, 2, 3, 4}, {2, 1, 2})) ==
        "tensor([[[1, 2]],\n"
        "\n"
        "        [[3, 4]]], shape (2, 1, 2), i64)");
}

TEST_CASE("print: a large tensor is summarized") {
  CHECK(to_string(arange(1001)) ==
        "tensor([   0,    1,    2,  ...,  998,  999, 1000], shape (1001,), i64)");
  CHECK(to_string(full({2, 1000}, 1, DType::i64), {.edge_items = 1}) ==
        "tensor([[1, ..., 1],\n"
        "        [1, ..., 1]], shape (2, 1000), i64)");
  CHECK(to_string(arange(20), {.threshold = 10, .edge_items = 2}) ==
        "tensor([ 0,  1, ..., 18, 19], shape (20,), i64)");
  CHECK(to_string(full({5, 2}, 7, DType::i64), {.threshold = 9, .edge_items = 1}) ==
        "tensor([[7, 7],\n"
        "        ...,\n"
        "        [7, 7]], shape (5, 2), i64)");
}

TEST_CASE("print: long rows are wrapped") {
  CHECK(to_string(arange(7), {.line_width = 18}) ==
        "tensor([0, 1, 2,\n"
        "        3, 4, 5,\n"
        "        6], shape (7,), i64)");
}

TEST_CASE("print: precision, and views that are not contiguous") {
  CHECK(to_string(tensor({1, 2}), {.precision = 1}) == "tensor([1.0, 2.0], shape (2,), f32)");
  const Tensor x = tensor({{1, 2, 3}, {4, 5, 6}});
  CHECK(to_string(alias(x, {3, 2}, {1, 3}), {.precision = 0}) ==
        "tensor([[1, 4],\n"
        "        [2, 5],\n"
        "        [3, 6]], shape (3, 2), f32)");
}
