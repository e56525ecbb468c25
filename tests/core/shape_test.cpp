#include <fovea/core/shape.h>
#include <fovea/tests/support/compare.h>

#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

TEST_CASE("a shape is a short list of sizes") {
  const Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s[1] == 3);
  CHECK(s.back() == 4);
  CHECK(s.numel() == 24);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{2, 0, 3}.numel() == 0);
  CHECK(s == Shape{2, 3, 4});
  CHECK_FALSE(s == Shape{2, 3});
  CHECK_FALSE(s == Shape{2, 3, 5});
  const std::vector<int> sizes{7, 8};
  CHECK(Shape(sizes.begin(), sizes.end()) == Shape{7, 8});
}

TEST_CASE("shapes are formatted as Python tuples") {
  CHECK(Shape{}.str() == "()");
  CHECK(Shape{5}.str() == "(5,)");
  CHECK(Shape{2, 3}.str() == "(2, 3)");
}

TEST_CASE("inserting, erasing, copying") {
  Shape s{2, 4};
  s.insert(1, 3);
  s.insert(0, 1);
  s.insert(4, 5);
  CHECK(s == Shape{1, 2, 3, 4, 5});
  s.erase(0);
  s.erase(3);
  CHECK(s == Shape{2, 3, 4});
  Shape copy{9, 9, 9, 9};
  copy = s;
  s[0] = 7;
  CHECK(copy == Shape{2, 3, 4});
}

TEST_CASE("at most eight axes") {
  Shape s{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(s.numel() == 40320);
  CHECK(message_of<ShapeError>([&] { s.push_back(9); }) == "Shape: more than 8 axes");
  CHECK(message_of<ShapeError>([] { Shape{1, 2, 3, 4, 5, 6, 7, 8, 9}; }) ==
        "Shape: more than 8 axes");
}

TEST_CASE("row-major strides") {
  CHECK(contiguous_strides({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(contiguous_strides({}) == Strides{});
  CHECK(contiguous_strides({5}) == Strides{1});
}

TEST_CASE("a negative axis counts from the end") {
  CHECK(normalize_axis("f", -1, 3) == 2);
  CHECK(normalize_axis("f", -3, 3) == 0);
  CHECK(normalize_axis("f", 2, 3) == 2);
  for (const std::int64_t axis : {3, -4})
    CHECK(message_of<IndexError>([&] { normalize_axis("f", axis, 3); }) ==
          "f: axis " + std::to_string(axis) + " of a tensor with 3 axes: must be in [-3, 3)");
}

TEST_CASE("broadcasting by NumPy's rule") {
  CHECK(broadcast_shapes("f", {2, 3}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast_shapes("f", {2, 3}, {3}) == Shape{2, 3});
  CHECK(broadcast_shapes("f", {3}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast_shapes("f", {2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast_shapes("f", {}, {2}) == Shape{2});
  CHECK(broadcast_shapes("f", {1}, {0}) == Shape{0});
  CHECK(message_of<ShapeError>([] {
          broadcast_shapes("f", {2, 3}, {2});
        }) ==
        "f: shapes (2, 3) and (2,) do not broadcast: sizes, aligned at the right, must be equal or "
        "1");
  CHECK_THROWS_AS(broadcast_shapes("f", {0}, {2}), ShapeError);
}
