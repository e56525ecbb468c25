#include <fovea/core/autograd.h>
#include <fovea/core/ragged.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

TEST_CASE("offsets and lengths of an index") {
  const RaggedIndex index({2, 0, 3});
  CHECK(index.batch_size() == 3);
  CHECK(index.total() == 5);
  CHECK(index.offset(2) == 2);
  CHECK(index.length(1) == 0);
  CHECK(index.max_length() == 3);
  CHECK(index.lengths() == std::vector<std::int64_t>{2, 0, 3});
  CHECK(index.offsets() == std::vector<std::int64_t>{0, 2, 2, 5});
  CHECK(index == RaggedIndex({2, 0, 3}));
  CHECK_FALSE(index == RaggedIndex({2, 3}));
  CHECK(RaggedIndex::equal(2, 3) == RaggedIndex({3, 3}));
  CHECK(RaggedIndex(std::vector<std::int64_t>{}).max_length() == 0);
}

TEST_CASE("pack removes the padding, pad inserts zeros") {
  const Tensor x = tensor({{1, 2, -1}, {-1, -1, -1}, {3, 4, 5}});
  const Ragged packed = pack(x, RaggedIndex({2, 0, 3}));
  CHECK(packed.values.to_vector<double>() == std::vector<double>{1, 2, 3, 4, 5});
  CHECK(max_difference(pad(packed), tensor({{1, 2, 0}, {0, 0, 0}, {3, 4, 5}})) == 0);
}

TEST_CASE("further axes and other types") {
  const Tensor ids = arange(12);
  const Tensor x = alias(ids, {2, 3, 2}, {6, 2, 1});
  const Ragged packed = pack(x, RaggedIndex({1, 2}));
  CHECK(packed.values.dtype() == DType::i64);
  CHECK(packed.values.shape() == Shape{3, 2});
  CHECK(packed.values.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 6, 7, 8, 9});
  CHECK(pad(packed).shape() == Shape{2, 2, 2});
}

TEST_CASE("empty batches and empty sequences") {
  const RaggedIndex none(std::vector<std::int64_t>{});
  CHECK(pack(zeros({0, 4, 2}), none).values.shape() == Shape{0, 2});
  CHECK(pack(zeros({2, 0, 3}), RaggedIndex({0, 0})).values.shape() == Shape{0, 3});
  CHECK(pad(pack(zeros({2, 4, 3}), RaggedIndex({0, 0}))).shape() == Shape{2, 0, 3});
}

TEST_CASE("gradients flow to real rows only") {
  Tensor x = tensor({{1, 2}, {3, 4}});
  x.set_requires_grad();
  pack(x, RaggedIndex({2, 1})).values.backward(tensor({5, 6, 7}));
  CHECK(max_difference(x.grad(), tensor({{5, 6}, {7, 0}})) == 0);
}

TEST_CASE("lengths that do not match") {
  CHECK(message_of<ValueError>([] {
          RaggedIndex({1, -2});
        }) == "RaggedIndex: length = -2: must not be negative");
  CHECK(message_of<ShapeError>([] {
          pack(zeros({2, 3}), RaggedIndex({1}));
        }) == "pack: x (2, 3) for 1 sequences: must be (B, T, ...)");
  CHECK(message_of<ShapeError>([] {
          pack(zeros({2}), RaggedIndex({1, 1}));
        }) == "pack: x (2,) for 2 sequences: must be (B, T, ...)");
  CHECK(message_of<ValueError>([] {
          pack(zeros({1, 3}), RaggedIndex({4}));
        }) == "pack: length = 4 with x (1, 3): must be at most T");
  CHECK(message_of<ShapeError>([] {
          pad({zeros({2, 3}), RaggedIndex({1})});
        }) ==
        "pad: values (2, 3) for sequences of 1 rows in total: the first size must be that total");
}
