#include <fovea/core/mask.h>
#include <fovea/tests/support/compare.h>

#include <limits>
#include <type_traits>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
using Corner = Mask::Corner;

namespace {

Tensor bools(const std::vector<bool>& values, const Shape& shape) {
  return from_data(values, shape);
}

}  // namespace

TEST_CASE("a bool tensor is not a mask: it does not define whether true means attended") {
  static_assert(!std::is_convertible_v<Tensor, Mask>);
  static_assert(!std::is_constructible_v<Mask, Tensor>);
  static_assert(!std::is_assignable_v<Mask&, Tensor>);
}

TEST_CASE("the shapes of the masks") {
  CHECK(Mask::none().describe(1, 2, 3) == "###\n###\n");
  CHECK(Mask::causal().describe(1, 3, 3) == "#..\n##.\n###\n");
  CHECK(Mask::causal(Corner::top_left).describe(1, 2, 4) == "#...\n##..\n");
  CHECK(Mask::causal(Corner::bottom_right).describe(1, 2, 4) == "###.\n####\n");
  CHECK(Mask::causal(Corner::bottom_right).describe(1, 3, 2) == "..\n#.\n##\n");
  CHECK(Mask::lengths({2, 0}).describe(2, 1, 3, 0) == "##.\n");
  CHECK(Mask::lengths({2, 0}).describe(2, 1, 3, 1) == "...\n");
  CHECK(Mask::window(1, 0).describe(1, 3, 3) == "#..\n##.\n.##\n");
  CHECK(Mask::window(-1, 1, Mask::Corner::top_left).describe(1, 3, 4) == "##..\n###.\n####\n");
  const Mask last_two =
      Mask::causal(Mask::Corner::bottom_right) & Mask::window(1, 0, Mask::Corner::bottom_right);
  CHECK(last_two.describe(1, 1, 4) == "..##\n");  // one query against a cache of four keys
  CHECK(message_of<ShapeError>([] { Mask::window(1, 0).to_tensor(1, 1, 4); }) ==
        "Mask::window: 1 queries and 4 keys: corner must be Corner::top_left or "
        "Corner::bottom_right if their numbers differ");
  CHECK(Mask::window(0, -1, Mask::Corner::top_left).describe(1, 2, 3) == "###\n.##\n");
}

TEST_CASE("keep and drop are complements") {
  const Tensor table = bools({true, false, false, true}, {2, 2});
  CHECK(Mask::keep(table).describe(1, 2, 2) == "#.\n.#\n");
  CHECK(Mask::drop(table).describe(1, 2, 2) == ".#\n#.\n");
  CHECK(table.to_vector<bool>() == std::vector<bool>{true, false, false, true});
}

TEST_CASE("tables broadcast, and later writes do not change the mask") {
  Tensor rows = bools({true, false}, {2, 1, 1});
  const Mask mask = Mask::keep(rows);
  rows.mutable_data<bool>()[1] = true;
  CHECK(mask.describe(2, 1, 3, 0) == "###\n");
  CHECK(mask.describe(2, 1, 3, 1) == "...\n");
  CHECK(Mask::keep(bools({true, false}, {1, 2})).describe(3, 2, 2, 2) == "#.\n#.\n");
  CHECK(Mask::keep(bools({true, false}, {2, 1})).describe(3, 2, 2, 2) == "##\n..\n");
}

TEST_CASE("& attends where both masks attend") {
  const Mask both = Mask::causal() & Mask::lengths({3, 1});
  CHECK(both.describe(2, 3, 3, 0) == "#..\n##.\n###\n");
  CHECK(both.describe(2, 3, 3, 1) == "#..\n#..\n#..\n");
  CHECK((both & Mask::none()).describe(2, 3, 3, 1) == both.describe(2, 3, 3, 1));
  CHECK((Mask::none() & Mask::none()).keeps_all());
  CHECK_FALSE(both.keeps_all());
}

TEST_CASE("the mask tensor has a batch axis only if the batch rows differ") {
  CHECK(Mask::causal().to_tensor(5, 3, 3).shape() == Shape{1, 3, 3});
  CHECK(Mask::lengths({1, 2}).to_tensor(2, 3, 4).shape() == Shape{2, 3, 4});
  CHECK(Mask::none().to_tensor(5, 0, 3).numel() == 0);
}

TEST_CASE("masks of an empty batch") {
  const std::vector<Mask> masks{Mask::lengths({}), Mask::documents(zeros({0, 2}, DType::i64)),
                                Mask::keep(zeros({0, 2, 2}, DType::boolean)),
                                Mask::causal() & Mask::documents(zeros({0, 2}, DType::i64))};
  for (const Mask& mask : masks) {
    CHECK(mask.to_tensor(0, 2, 2).shape() == Shape{0, 2, 2});
    CHECK_NOTHROW(mask.strict().plan({0, 1, 2, 2}));
  }
}

TEST_CASE("a window of the largest int64 is no limit") {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(Mask::window(most, most, Corner::bottom_right).describe(1, 3, 2) == "##\n##\n##\n");
  CHECK(Mask::window(most, 0, Corner::bottom_right).describe(1, 3, 2) == "..\n#.\n##\n");
}

TEST_CASE("masks that do not match the sizes") {
  CHECK(message_of<ShapeError>([] { Mask::causal().to_tensor(1, 2, 3); }) ==
        "Mask::causal: 2 queries and 3 keys: corner must be Corner::top_left or "
        "Corner::bottom_right if their numbers differ");
  CHECK(message_of<ValueError>([] {
          Mask::lengths({2, -1});
        }) == "Mask::lengths: length = -1: must not be negative");
  CHECK(message_of<ShapeError>([] {
          Mask::lengths({2, 1}).to_tensor(3, 1, 4);
        }) == "Mask::lengths: 2 lengths for a batch of 3: must be one per batch row");
  CHECK(message_of<ValueError>([] { Mask::lengths({5}).to_tensor(1, 1, 4); }) ==
        "Mask::lengths: length = 5 with 4 keys: must not be larger");
  CHECK(message_of<DTypeError>([] {
          Mask::keep(zeros({2, 2}));
        }) == "Mask::keep: dtype = f32: must be bool");
  CHECK(message_of<DTypeError>([] {
          Mask::drop(zeros({2, 2}));
        }) == "Mask::drop: dtype = f32: must be bool");
  CHECK(message_of<ShapeError>([] { Mask::drop(zeros({2}, DType::boolean)); }) ==
        "Mask::drop: shape = (2,): must be (T, S), (B, T, S) or (B, H, T, S)");
  CHECK(message_of<ShapeError>([] {
          Mask::keep(zeros({2, 3}, DType::boolean)).to_tensor(1, 1, 3);
        }) == "Mask: mask (2, 3) for (B, H, T, S) = (1, 1, 1, 3): each size must be equal or 1");
  CHECK(message_of<IndexError>([] { Mask::none().describe(2, 1, 1, 2); }) ==
        "Mask::describe: batch_row = 2 of 2: must be in [0, 2)");
}

TEST_CASE("documents attend themselves, whether their keys are contiguous or not") {
  const auto ids = [](std::vector<std::int64_t> values) {
    const auto n = static_cast<std::int64_t>(values.size());
    return from_data(values, {n});
  };
  CHECK(Mask::documents(ids({7, 7, 3})).describe(1, 3, 3) == "##.\n##.\n..#\n");
  CHECK(Mask::documents(ids({1, 2, 1})).describe(1, 3, 3) == "#.#\n.#.\n#.#\n");
  CHECK(Mask::documents(ids({2, 9}), ids({1, 2, 2})).describe(1, 2, 3) == ".##\n...\n");
  const Tensor rows = from_data(std::vector<std::int64_t>{1, 1, 1, 2}, {2, 2});
  CHECK(Mask::documents(rows).describe(2, 2, 2, 0) == "##\n##\n");
  CHECK(Mask::documents(rows).describe(2, 2, 2, 1) == "#.\n.#\n");
  CHECK((Mask::documents(ids({1, 2, 1})) & Mask::causal()).describe(1, 3, 3) == "#..\n.#.\n#.#\n");
  CHECK(Mask::documents(ids({7, 7, 3})).plan({1, 1, 3, 3}).ids.empty());  // the ranges suffice
  CHECK(Mask::documents(ids({1, 2, 1})).plan({1, 1, 3, 3}).ids.size() == 1);
  CHECK(message_of<DTypeError>([] { Mask::documents(zeros({3})); }) ==
        "Mask::documents: dtype of ids = f32: must be i64");
  CHECK(message_of<ShapeError>([] {
          Mask::documents(zeros({1, 1, 1}, DType::i64));
        }) == "Mask::documents: ids (1, 1, 1): must be (T) or (B, T)");
  CHECK(message_of<ShapeError>([&] {
          Mask::documents(ids({1, 2})).plan({1, 1, 2, 3});
        }) ==
        "Mask::documents: ids (1, 2) of queries and (1, 2) of keys for B = 1, T = 2, S = 3: must "
        "be (B or 1, T) and (B or 1, S)");
}

TEST_CASE("all queries attend the prefix, the rest is causal") {
  const Mask mask = Mask::prefix_lm({2, 0});
  CHECK(mask.describe(2, 3, 3, 0) == "##.\n##.\n###\n");
  CHECK(mask.describe(2, 3, 3, 1) == "#..\n##.\n###\n");
  CHECK(Mask::prefix_lm({3}, Corner::bottom_right).describe(1, 2, 4) == "###.\n####\n");
  CHECK(message_of<ValueError>([] { Mask::prefix_lm({-2}); }) ==
        "Mask::prefix_lm: length = -2: must not be negative");
  CHECK(message_of<ShapeError>([] {
          Mask::prefix_lm({1}).plan({1, 1, 2, 3});
        }) ==
        "Mask::prefix_lm: 2 queries and 3 keys: corner must be Corner::top_left or "
        "Corner::bottom_right if their numbers differ");
}

TEST_CASE("heads may differ") {
  const Mask mask = Mask::keep(bools({true, false, true, true}, {1, 2, 1, 2}));
  CHECK(mask.describe({3, 2, 2, 2}, 2, 0) == "#.\n#.\n");
  CHECK(mask.describe({3, 2, 2, 2}, 2, 1) == "##\n##\n");
  CHECK(mask.to_tensor({3, 2, 2, 2}).shape() == Shape{1, 2, 2, 2});
  CHECK(Mask::causal().to_tensor({3, 2, 2, 2}).shape() == Shape{1, 1, 2, 2});
  CHECK(message_of<ShapeError>([&] { mask.to_tensor(3, 2, 2); }) ==
        "Mask: mask (1, 2, 1, 2) for (B, H, T, S) = (3, 1, 2, 2): each size must be equal or 1");
  CHECK(message_of<IndexError>([&] {
          mask.describe({3, 2, 2, 2}, 0, 2);
        }) == "Mask::describe: head = 2 of 2: must be in [0, 2)");
}

TEST_CASE("a strict mask reports the first query that attends no key") {
  const Mask mask = Mask::lengths({2, 0}) & Mask::causal();
  CHECK(mask.describe(2, 2, 2, 1) == "..\n..\n");
  CHECK(message_of<ValueError>([&] {
          mask.strict().plan({2, 4, 2, 2});
        }) ==
        "Mask::strict: batch row 1, head 0, query 0 of 2 attends none of 2 keys: must attend at "
        "least one");
  const Mask by_head = Mask::keep(bools({true, true, true, false}, {1, 2, 2, 1}));
  CHECK(message_of<ValueError>([&] {
          by_head.strict().to_tensor({1, 2, 2, 2});
        }) ==
        "Mask::strict: batch row 0, head 1, query 1 of 2 attends none of 2 keys: must attend at "
        "least one");
  CHECK_THROWS_AS((mask.strict() & Mask::none()).plan({2, 1, 2, 2}), ValueError);
  CHECK(Mask::causal().strict().to_tensor(1, 2, 2).numel() == 4);
  CHECK_FALSE(Mask::none().strict().keeps_all());
}

TEST_CASE("ranges of a plan have begin <= end, and take O(B T) memory") {
  const std::vector<Mask> masks = {Mask::window(1, 0, Corner::bottom_right),
                                   Mask::causal(Corner::bottom_right),
                                   Mask::window(2, -1, Corner::top_left), Mask::lengths({0, 3}),
                                   Mask::window(0, 0, Corner::top_left) & Mask::lengths({1, 0})};
  for (const Mask& mask : masks) {
    for (const auto& [T, S] : {std::pair<std::int64_t, std::int64_t>{7, 3}, {3, 7}, {1, 3}}) {
      const MaskPlan plan = mask.plan({2, 1, T, S});
      REQUIRE(plan.begin.size() == static_cast<std::size_t>((plan.per_row ? 2 : 1) * T));
      REQUIRE(plan.end.size() == plan.begin.size());
      for (std::size_t i = 0; i < plan.begin.size(); ++i) {
        CHECK(0 <= plan.begin[i]);
        CHECK(plan.begin[i] <= plan.end[i]);
        CHECK(plan.end[i] <= S);
      }
    }
  }
  CHECK(Mask::none().plan({2, 2, 3, 3}).begin.empty());
  CHECK(Mask::keep(zeros({3, 3}, DType::boolean)).plan({2, 2, 3, 3}).begin.empty());
}

TEST_CASE("masks of keys only, for every query: PyTorch's key_padding_mask") {
  const Tensor table = bools({true, false, false, true}, {2, 2});
  CHECK(Mask::keep_keys(table).describe(2, 3, 2, 0) == "#.\n#.\n#.\n");
  CHECK(Mask::drop_keys(table).describe(2, 3, 2, 0) == ".#\n.#\n.#\n");
  CHECK(Mask::drop_keys(table).describe(2, 1, 2, 1) == "#.\n");
  CHECK(message_of<ShapeError>([] { Mask::drop_keys(zeros({2}, DType::boolean)); }) ==
        "Mask::drop_keys: shape = (2,): must be (B, S)");
  CHECK(message_of<DTypeError>([] {
          Mask::keep_keys(zeros({2, 2}));
        }) == "Mask::keep: dtype = f32: must be bool");
}
