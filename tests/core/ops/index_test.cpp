#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

using Numbers = std::vector<double>;

Numbers values(const Tensor& x) { return x.to_vector<double>(); }

Tensor ints(const std::vector<int64_t>& values, const Shape& shape) {
  return from_data(values, shape);
}
Tensor ints(const std::vector<int64_t>& values) {
  return ints(values, {static_cast<int64_t>(values.size())});
}
Tensor bools(const std::vector<bool>& values, const Shape& shape) {
  return from_data(values, shape);
}

// 0, 1, 2, ...
Tensor counting(const Shape& shape) {
  return reshape(arange(0.0, static_cast<double>(shape.numel())), shape);
}

}  // namespace

TEST_CASE("embedding looks up rows") {
  const Tensor weight = counting({4, 2});
  const Tensor y = embedding(weight, ints({3, 0, 0, 1}, {2, 2}));
  CHECK(y.shape() == Shape{2, 2, 2});
  CHECK(values(y) == Numbers{6, 7, 0, 1, 0, 1, 2, 3});
  CHECK(values(embedding(weight, ints({2}, {}))) == Numbers{4, 5});
  CHECK(embedding(weight, ints({})).shape() == Shape{0, 2});
  CHECK(values(embedding(transpose(counting({2, 4}), 0, 1), ints({1}))) == Numbers{1, 5});
}

TEST_CASE("embedding: repeated ids add up, and the padding row gets no gradient") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Tensor weight = ones({4, 2}, dtype);
    weight.set_requires_grad();
    const Tensor ids = ints({3, 0, 3, 1});
    const Tensor seed = counting({4, 2}).to(dtype);
    embedding(weight, ids).backward(seed);
    CHECK(values(weight.grad()) == Numbers{2, 3, 6, 7, 0, 0, 4, 6});
    weight.zero_grad();
    embedding(weight, ids, 3).backward(seed);
    CHECK(values(weight.grad()) == Numbers{2, 3, 6, 7, 0, 0, 0, 0});
    weight.zero_grad();
    embedding(weight, ids, 3).backward(seed, {.create_graph = true});  // in plain ops
    CHECK(values(weight.grad()) == Numbers{2, 3, 6, 7, 0, 0, 0, 0});
  }
}

TEST_CASE("index_select and index_add") {
  const Tensor x = counting({2, 3});
  CHECK(values(index_select(x, 1, ints({2, 2, 0}))) == Numbers{2, 2, 0, 5, 5, 3});
  CHECK(values(index_select(x, 0, ints({1}))) == Numbers{3, 4, 5});
  CHECK(index_select(x, 0, ints({})).shape() == Shape{0, 3});
  CHECK(values(index_select(arange(4), 0, ints({3, 1}))) == Numbers{3, 1});
  CHECK(values(index_select(bools({true, false}, {2}), 0, ints({1, 0}))) == Numbers{0, 1});
  CHECK(values(index_add(x, 1, ints({0, 2, 0}), ones({2, 3}))) == Numbers{2, 1, 3, 5, 4, 6});
  CHECK(values(x) == Numbers{0, 1, 2, 3, 4, 5});
  CHECK(values(index_add(zeros({3}, DType::i64), 0, ints({1, 1}), ints({5, 6}))) ==
        Numbers{0, 11, 0});
}

TEST_CASE("gather and scatter_add") {
  const Tensor x = counting({2, 3});
  CHECK(values(gather(x, 1, ints({2, 0, 1, 1}, {2, 2}))) == Numbers{2, 0, 4, 4});
  CHECK(values(gather(x, 0, ints({1, 0, 1}, {1, 3}))) == Numbers{3, 1, 5});
  CHECK(gather(x, 1, ints({}, {2, 0})).shape() == Shape{2, 0});
  CHECK(values(scatter_add(x, 1, ints({2, 2, 0, 1}, {2, 2}), ones({2, 2}))) ==
        Numbers{0, 1, 4, 4, 5, 5});
  CHECK(values(x) == Numbers{0, 1, 2, 3, 4, 5});
}

TEST_CASE("one_hot") {
  const Tensor y = one_hot(ints({2, 0}), 3);
  CHECK(y.dtype() == DType::i64);
  CHECK(y.shape() == Shape{2, 3});
  CHECK(values(y) == Numbers{0, 0, 1, 1, 0, 0});
  CHECK(one_hot(ints({1}, {}), 2, DType::f32).shape() == Shape{2});
  CHECK(one_hot(ints({1}, {}), 2, DType::f32).dtype() == DType::f32);
  CHECK(one_hot(ints({}), 0).shape() == Shape{0, 0});
}

TEST_CASE("masked_select selects where true, in row-major order") {
  const Tensor x = counting({2, 3});
  CHECK(values(masked_select(x, bools({true, false, true, false, true, false}, {2, 3}))) ==
        Numbers{0, 2, 4});
  CHECK(values(masked_select(x, bools({false, true, true}, {3}))) == Numbers{1, 2, 4, 5});
  CHECK(values(masked_select(tensor({7, 8}), bools({true, false}, {2, 1}))) == Numbers{7, 8});
  CHECK(masked_select(x, bools({false}, {1})).shape() == Shape{0});
}

TEST_CASE("masked_select by a Mask") {
  const Tensor x = counting({2, 2, 2});
  CHECK(values(masked_select(x, Mask::causal())) == Numbers{0, 2, 3, 4, 6, 7});
  CHECK(values(masked_select(x, Mask::lengths({1, 0}))) == Numbers{0, 2});
  CHECK(values(masked_select(select(x, 0, 0), Mask::causal())) == Numbers{0, 2, 3});
}

TEST_CASE("masked_fill writes where true") {
  const Tensor x = counting({2, 2});
  CHECK(values(masked_fill(x, bools({true, false}, {2}), -1)) == Numbers{-1, 1, -1, 3});
  CHECK(values(x) == Numbers{0, 1, 2, 3});
}

TEST_CASE("index: errors name the position, the value and the size") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<IndexError>([&] {
          embedding(x, ints({0, 1, 1, 2}, {2, 2}));
        }) == "embedding: index 2 at position (1, 1): must be in [0, 2)");
  CHECK(message_of<IndexError>([&] {
          index_select(x, 1, ints({0, -1}));
        }) == "index_select: index -1 at position (1,): must be in [0, 3)");
  CHECK(message_of<IndexError>([&] {
          index_add(x, 0, ints({2}), zeros({1, 3}));
        }) == "index_add: index 2 at position (0,): must be in [0, 2)");
  CHECK(message_of<IndexError>([&] {
          gather(x, 0, ints({0, 0, 7}, {1, 3}));
        }) == "gather: index 7 at position (0, 2): must be in [0, 2)");
  CHECK(message_of<IndexError>([&] {
          scatter_add(x, 0, ints({0, 9, 0}, {1, 3}), zeros({1, 3}));
        }) == "scatter_add: index 9 at position (0, 1): must be in [0, 2)");
  CHECK(message_of<IndexError>([&] { one_hot(ints({3}), 3); }) ==
        "one_hot: index 3 at position (0,): must be in [0, 3)");
}

TEST_CASE("index: errors about shapes, dtypes and values") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<DTypeError>([&] { embedding(x, zeros({2})); }) ==
        "embedding: index is f32: must be i64");
  CHECK(message_of<ShapeError>([&] { embedding(zeros({2}), ints({0})); }) ==
        "embedding: weight (2,): must be (V, C)");
  CHECK(message_of<ValueError>([&] { embedding(x, ints({0}), 2); }) ==
        "embedding: padding_idx = 2: must be in [0, 2), or -1 for none");
  CHECK(message_of<DTypeError>([&] { embedding(x.to(DType::i64), ints({0})); }) ==
        "embedding: needs f32 or f64, and got i64");
  CHECK(message_of<ShapeError>([&] {
          index_select(x, 0, ints({0}, {1, 1}));
        }) == "index_select: index (1, 1): must have one axis");
  CHECK(message_of<ShapeError>([&] {
          index_add(x, 0, ints({0}), zeros({1, 4}));
        }) == "index_add: x (2, 3) and source (1, 4): sizes must be equal except on axis 0");
  CHECK(message_of<ShapeError>([&] {
          index_add(x, 0, ints({0, 1}), zeros({1, 3}));
        }) == "index_add: 2 indices for size 1 of source's axis 0: must be equal");
  CHECK(message_of<DTypeError>([&] {
          index_add(x, 0, ints({0}), zeros({1, 3}, DType::f64));
        }) == "index_add: x is f32 and source is f64: dtypes must be equal");
  CHECK(message_of<ShapeError>([&] {
          gather(x, 1, ints({0}, {1, 1}));
        }) == "gather: x (2, 3) and index (1, 1): sizes must be equal except on axis 1");
  CHECK(message_of<ShapeError>([&] {
          scatter_add(x, 0, ints({0, 0, 0}, {1, 3}), x);
        }) == "scatter_add: index (1, 3) and source (2, 3): shapes must be equal");
  CHECK(message_of<DTypeError>([&] {
          scatter_add(x, 0, ints({}, {0, 3}), ints({}, {0, 3}));
        }) == "scatter_add: x is f32 and source is i64: dtypes must be equal");
  CHECK(message_of<DTypeError>([&] {
          index_add(bools({true}, {1}), 0, ints({}), bools({}, {0}));
        }) == "index_add: needs f32, f64 or i64, and got bool");
  CHECK(message_of<DTypeError>([&] { masked_select(x, x); }) ==
        "masked_select: keep is f32: must be bool");
  CHECK(message_of<ShapeError>([&] { masked_select(zeros({3}), Mask::causal()); }) ==
        "masked_select: x (3,): must be (T, S) or (B, T, S)");
  CHECK(message_of<ShapeError>([&] {
          masked_fill(x, bools({true, false}, {2, 1, 1}), 0);
        }) == "masked_fill: x (2, 3) and mask (2, 1, 1): the mask must broadcast to x");
}
