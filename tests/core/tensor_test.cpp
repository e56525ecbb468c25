#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/random.h>
#include <fovea/core/tensor.h>
#include <fovea/tests/support/compare.h>

#include <type_traits>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

TEST_CASE("factories") {
  CHECK(zeros({2, 3}).to_vector<double>() == std::vector<double>(6, 0.0));
  CHECK(ones({2}, DType::f64).dtype() == DType::f64);
  CHECK(full({2}, 7, DType::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 7});
  CHECK(full({2}, 1, DType::boolean).to_vector<bool>() == std::vector<bool>{true, true});
  CHECK(scalar(2.5).item() == 2.5f);
  CHECK(scalar(2.5).rank() == 0);
  CHECK(max_difference(eye(2), tensor({{1, 0}, {0, 1}})) == 0);
  CHECK(eye(0).numel() == 0);
  CHECK(tensor({{1, 2, 3}, {4, 5, 6}}).shape() == Shape{2, 3});
  CHECK(tensor({1, 2}).shape() == Shape{2});
  CHECK(empty({0, 3}).numel() == 0);
  CHECK_FALSE(Tensor().defined());
}

TEST_CASE("full: errors for values outside the range of i64") {
  CHECK(message_of<ValueError>([] { full({2}, std::nan(""), DType::i64); }) ==
        "full: nan as i64: must be finite and below 2^63");
  CHECK_THROWS_AS(full({}, 0x1p63, DType::i64), ValueError);
  CHECK(full({}, -0x1p62, DType::i64).item<std::int64_t>() == -(std::int64_t{1} << 62));
  CHECK(std::isnan(full({}, std::nan("")).item()));
}

TEST_CASE("arange") {
  CHECK(arange(3).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 2});
  CHECK(arange(0).numel() == 0);
  CHECK(arange(1, 2, 0.25).to_vector<double>() == std::vector<double>{1, 1.25, 1.5, 1.75});
  CHECK(arange(3, 0, -1.0).to_vector<double>() == std::vector<double>{3, 2, 1});
  CHECK(arange(3, 0, 1.0).numel() == 0);
  CHECK(message_of<ValueError>([] { arange(0, 1, 0.0); }) ==
        "arange: from 0 to 1 by 0: the step must not be 0, and all must be finite");
  CHECK_THROWS_AS(arange(0, 1, std::nan("")), ValueError);
}

TEST_CASE("random factories use the generator") {
  Rng a(3), b(3);
  CHECK(max_difference(randn({100}, a), randn({100}, b)) == 0);
  CHECK(max_difference(rand({100}, a, DType::f64), rand({100}, b, DType::f64)) == 0);
  CHECK(message_of<DTypeError>([&] { rand({2}, a, DType::i64); }) ==
        "rand: needs f32 or f64, and got i64");
}

TEST_CASE("from data") {
  CHECK(from_data(std::vector<double>{1, 2}, {2, 1}).shape() == Shape{2, 1});
  CHECK(from_data(std::vector<bool>{true, false}, {2}).dtype() == DType::boolean);
  CHECK(from_data(std::vector<float>{}, {0, 4}).numel() == 0);
  CHECK(message_of<ShapeError>([] {
          from_data(std::vector<float>{1, 2, 3}, {2, 2});
        }) == "from_data: 3 values for shape (2, 2): must be 4");
  CHECK(message_of<ShapeError>([] {
          tensor({{1, 2}, {3}});
        }) == "tensor: a row of 1 values after rows of 2: rows must have equal lengths");
}

namespace {

template <class T>
concept MakesTensor = requires(const std::vector<T>& values) {
  from_data(values, {2});
};
template <class T>
concept EndsRange = requires(T end) {
  arange(end);
};

}  // namespace

TEST_CASE("from_data has the dtype of its values, and small integers become i64") {
  CHECK(from_data({1, 0, 1}, {3}).dtype() == DType::i64);
  CHECK(from_data({1, 0, 1}, {3}).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 1});
  CHECK(from_data({true, false}, {2}).dtype() == DType::boolean);
  CHECK(from_data({1.5f, 2.5f}, {2}).dtype() == DType::f32);
  CHECK(from_data({1.5, 2.5}, {2}).dtype() == DType::f64);
  CHECK(from_data(std::vector<int>{-1, 2}, {2}).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{-1, 2});
  CHECK(from_data(std::vector<short>{3, 4}, {2}).dtype() == DType::i64);
  CHECK(from_data(std::vector<std::uint32_t>{5, ~0u}, {2}).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{5, 4294967295});
  CHECK(MakesTensor<int>);
  CHECK_FALSE(MakesTensor<std::uint64_t>);  // not all values fit into i64
  CHECK_FALSE(MakesTensor<std::string>);
}

TEST_CASE("arange of integers only, with one argument") {
  CHECK(EndsRange<int>);
  CHECK(EndsRange<std::size_t>);
  CHECK_FALSE(EndsRange<double>);  // would be truncated: arange(2.5) is not arange(2)
  CHECK_FALSE(EndsRange<float>);
  CHECK(arange(0, 3).dtype() == DType::f32);  // as documented
  CHECK(arange(0, 3, 1, DType::i64).dtype() == DType::i64);
}

TEST_CASE("impossible shapes") {
  CHECK(message_of<ShapeError>([] {
          zeros({2, -1});
        }) == "empty: shape (2, -1): sizes must not be negative");
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK(message_of<ShapeError>([&] {
          zeros({huge, huge});
        }) ==
        "empty: shape (1099511627776, 1099511627776): the product of the nonzero sizes must be at "
        "most 2^48");
  CHECK_THROWS_AS(empty({std::int64_t{1} << 46}, DType::f64), ShapeError);
}

TEST_CASE("sizes and axes") {
  const Tensor x = zeros({2, 3, 4});
  CHECK(x.rank() == 3);
  CHECK(x.numel() == 24);
  CHECK(x.dim(0) == 2);
  CHECK(x.dim(-1) == 4);
  CHECK(message_of<IndexError>([&] { x.dim(3); }) ==
        "dim: axis 3 of a tensor with 3 axes: must be in [-3, 3)");
}

TEST_CASE("elements are read and written in their own type") {
  Tensor x = tensor({1, 2});
  x.mutable_data<float>()[1] = 5;
  CHECK(x.data<float>()[1] == 5);
  CHECK(message_of<DTypeError>([&] { x.data<double>(); }) ==
        "data: T = f64 for a tensor (2,) of dtype f32: must be equal: convert with to()");
  CHECK_THROWS_AS(x.mutable_data<std::int64_t>(), DTypeError);
}

TEST_CASE("item requires exactly one element") {
  CHECK(full({1, 1}, 3).item<int>() == 3);
  CHECK(full({}, 1, DType::boolean).item<bool>());
  CHECK(message_of<ShapeError>([] {
          zeros({2, 3}).item();
        }) == "item: the tensor (2, 3) has 6 elements: must have exactly one");
}

TEST_CASE("item does not round an i64 to a double") {
  const std::int64_t odd = (std::int64_t{1} << 53) + 1;
  CHECK(from_data(std::vector<std::int64_t>{odd}, {1}).item<std::int64_t>() == odd);
}

TEST_CASE("copying shares the values, clone copies them") {
  Tensor x = tensor({1, 2});
  const Tensor same = x, copy = x.clone();
  x.mutable_data<float>()[0] = 9;
  CHECK(same.data<float>()[0] == 9);
  CHECK(copy.data<float>()[0] == 1);
}

TEST_CASE("contiguous copies only non-contiguous tensors") {
  const Tensor x = tensor({{1, 2, 3}, {4, 5, 6}}), t = transpose(x, 0, 1);
  CHECK(x.contiguous().raw_data() == x.raw_data());
  CHECK_FALSE(t.is_contiguous());
  CHECK(t.contiguous().is_contiguous());
  CHECK(t.contiguous().to_vector<double>() == std::vector<double>{1, 4, 2, 5, 3, 6});
  CHECK(t.clone().to_vector<double>() == std::vector<double>{1, 4, 2, 5, 3, 6});
  CHECK(transpose(zeros({1, 4}), 0, 1).is_contiguous());  // a size of 1 may have any stride
}

TEST_CASE("to converts between all types") {
  const Tensor x = tensor({-1.5, 0, 2.75});
  CHECK(x.to(DType::f32).raw_data() == x.raw_data());
  CHECK(x.to(DType::f64).to_vector<double>() == std::vector<double>{-1.5, 0, 2.75});
  CHECK(x.to(DType::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{-1, 0, 2});
  CHECK(x.to(DType::boolean).to_vector<bool>() == std::vector<bool>{true, false, true});
  CHECK(tensor({0.5, 0, -0.25}).to_vector<bool>() == std::vector<bool>{true, false, true});
  CHECK(x.to(DType::boolean).to(DType::f32).to_vector<double>() == std::vector<double>{1, 0, 1});
  Tensor leaf = x.clone();
  leaf.set_requires_grad();
  leaf.to(DType::f64).backward(ones({3}, DType::f64));
  CHECK(leaf.grad().dtype() == DType::f32);
  CHECK_FALSE(leaf.to(DType::i64).requires_grad());
}

TEST_CASE("copy_from writes through views; on an error it writes nothing") {
  Tensor x = zeros({2, 3});
  Tensor column = select(x, 1, 1);
  column.copy_from(tensor({7, 8}));
  CHECK(max_difference(x, tensor({{0, 7, 0}, {0, 8, 0}})) == 0);
  x.fill(4);
  CHECK(message_of<ValueError>([] { zeros({2}, DType::i64).fill(1.5); }) ==
        "full: 1.5 as i64: must be a whole number");
  CHECK(max_difference(x, full({2, 3}, 4)) == 0);
  const auto version = x.impl()->storage->version();
  CHECK(message_of<ShapeError>([&] {
          x.copy_from(zeros({3, 2}));
        }) == "copy_from: from (3, 2) to (2, 3): shapes must be equal");
  CHECK(message_of<DTypeError>([&] {
          x.copy_from(zeros({2, 3}, DType::f64));
        }) == "copy_from: from f64 to f32: types must be equal");
  CHECK(x.impl()->storage->version() == version);
}

TEST_CASE("copy_from and fill do not write several values to one element") {
  const Tensor x = zeros({1, 3});
  Tensor expanded = expand(x, {2, 3});
  const std::string message =
      "copy_from: to an expanded view (2, 3) with stride 0 on axis 0: write to a clone() instead";
  CHECK(message_of<StateError>([&] { expanded.copy_from(ones({2, 3})); }) == message);
  CHECK(message_of<StateError>([&] { expanded.fill(1); }) == message);
  CHECK(max_difference(x, zeros({1, 3})) == 0);
  CHECK_NOTHROW(expand(x, {1, 3}).fill(1));
}

TEST_CASE("copy_from between overlapping views reads before it writes") {
  const std::vector<double> numbers{0, 1, 2, 3, 4, 5, 6, 7, 8};
  const Tensor up = from_data(numbers, {9}), down = up.clone();
  slice(up, 0, 1, 9).copy_from(slice(up, 0, 0, 8));
  slice(down, 0, 0, 8).copy_from(slice(down, 0, 1, 9));
  CHECK(up.to_vector<double>() == std::vector<double>{0, 0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(down.to_vector<double>() == std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 8});
  Tensor turned = from_data(numbers, {3, 3});
  turned.copy_from(transpose(turned, 0, 1));
  CHECK(turned.to_vector<double>() == std::vector<double>{0, 3, 6, 1, 4, 7, 2, 5, 8});
}

TEST_CASE("every write bumps the version, no read does") {
  Tensor x = zeros({2});
  const auto version = [&] { return x.impl()->storage->version(); };
  const auto start = version();
  x.data<float>();
  x.to_vector<float>();
  CHECK(version() == start);
  x.mutable_data<float>();
  CHECK(version() == start + 1);
  slice(x, 0, 0, 1).mutable_data<float>();
  CHECK(version() == start + 2);
}
