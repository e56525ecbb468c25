#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

using Numbers = std::vector<double>;

Numbers values(const Tensor& x) { return x.to_vector<double>(); }

// 0, 1, 2, ...
Tensor counting(const Shape& shape) {
  return reshape(arange(0.0, static_cast<double>(shape.numel())), shape);
}

bool share(const Tensor& a, const Tensor& b) {
  return a.impl()->storage.get() == b.impl()->storage.get();
}

}  // namespace

TEST_CASE("reshape: a view where the strides allow it, else a copy") {
  const Tensor x = counting({2, 3, 4});
  CHECK(reshape(x, {6, 4}).shape() == Shape{6, 4});
  CHECK(reshape(x, {-1}).shape() == Shape{24});
  CHECK(reshape(x, {2, -1, 2}).shape() == Shape{2, 6, 2});
  CHECK(share(reshape(x, {4, 6}), x));
  CHECK(values(reshape(x, {4, 6})) == values(x));

  const Tensor turned = transpose(x, 0, 1);  // (3, 2, 4)
  CHECK(share(reshape(turned, {3, 2, 2, 2}), x));
  CHECK(values(reshape(turned, {3, 2, 2, 2})) == values(turned));
  CHECK(!share(reshape(turned, {6, 4}), x));
  CHECK(values(reshape(turned, {6, 4})) == values(turned));

  const Tensor part = slice(x, 0, 1, 2);  // (1, 3, 4), dense from an offset on
  CHECK(share(reshape(part, {12}), x));
  CHECK(values(reshape(part, {12})).front() == 12);

  const Tensor columns = slice(x, 2, 0, 2);  // (2, 3, 2) with strides (12, 4, 1)
  CHECK(share(reshape(columns, {6, 2}), x));
  CHECK(values(reshape(columns, {6, 1, 2})) == values(columns));
  CHECK(!share(reshape(columns, {2, 6}), x));
}

TEST_CASE("reshape: empty, rank 0 and axes of size 1") {
  CHECK(reshape(zeros({0, 3}), {3, 0, 2}).shape() == Shape{3, 0, 2});
  CHECK(reshape(zeros({0, 3}), {-1, 3}).shape() == Shape{0, 3});
  CHECK(reshape(scalar(5), {1, 1}).shape() == Shape{1, 1});
  CHECK(reshape(tensor({5}), {}).shape() == Shape{});
  const Tensor turned = transpose(counting({3, 1, 2}), 0, 2);  // (2, 1, 3)
  CHECK(values(reshape(turned, {2, 3, 1})) == values(turned));
  CHECK(values(reshape(expand(scalar(2), {2, 2}), {4})) == Numbers{2, 2, 2, 2});
}

TEST_CASE("view shares storage, or throws") {
  Tensor x = counting({2, 3});
  const Tensor y = view(x, {3, 2});
  x.mutable_data<float>()[0] = 9;
  CHECK(values(y) == Numbers{9, 1, 2, 3, 4, 5});
  CHECK(message_of<ShapeError>([&] { view(transpose(x, 0, 1), {6}); }) ==
        "view: (3, 2) with strides (1, 3) to (6,): needs a copy: use reshape()");
}

TEST_CASE("squeeze and unsqueeze") {
  const Tensor x = counting({1, 3, 1});
  CHECK(squeeze(x).shape() == Shape{3});
  CHECK(squeeze(x, 0).shape() == Shape{3, 1});
  CHECK(squeeze(x, -1).shape() == Shape{1, 3});
  CHECK(squeeze(x, 1).shape() == Shape{1, 3, 1});
  CHECK(unsqueeze(x, 0).shape() == Shape{1, 1, 3, 1});
  CHECK(unsqueeze(x, -1).shape() == Shape{1, 3, 1, 1});
  CHECK(unsqueeze(scalar(1), 0).shape() == Shape{1});
  CHECK(share(squeeze(x), x));
  CHECK(share(unsqueeze(x, 1), x));
}

TEST_CASE("expand repeats without copying") {
  const Tensor x = reshape(tensor({1, 2}), {2, 1});
  const Tensor y = expand(x, {3, -1, 2});
  CHECK(y.shape() == Shape{3, 2, 2});
  CHECK(share(y, x));
  CHECK(values(y) == Numbers{1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2});
  CHECK(values(broadcast_to(scalar(4), {2})) == Numbers{4, 4});
  CHECK(expand(zeros({1, 3}), {0, 3}).shape() == Shape{0, 3});
}

TEST_CASE("transpose, permute and flip") {
  const Tensor x = counting({2, 3});
  CHECK(values(transpose(x, 0, -1)) == Numbers{0, 3, 1, 4, 2, 5});
  CHECK(share(transpose(x, 0, 1), x));
  CHECK(values(permute(x, {1, 0})) == Numbers{0, 3, 1, 4, 2, 5});
  CHECK(permute(counting({2, 3, 4}), {2, -3, 1}).shape() == Shape{4, 2, 3});
  CHECK(permute(scalar(1), {}).shape() == Shape{});
  CHECK(values(flip(x, {0})) == Numbers{3, 4, 5, 0, 1, 2});
  CHECK(values(flip(x, {-1})) == Numbers{2, 1, 0, 5, 4, 3});
  CHECK(values(flip(x, {0, 1})) == Numbers{5, 4, 3, 2, 1, 0});
  CHECK(values(flip(transpose(x, 0, 1), {0})) == Numbers{2, 5, 1, 4, 0, 3});
  CHECK(flip(zeros({0, 2}), {0, 1}).shape() == Shape{0, 2});
  CHECK(values(flip(arange(3), {0})) == Numbers{2, 1, 0});
}

TEST_CASE("slice follows Python") {
  const Tensor x = counting({6});
  CHECK(values(slice(x, 0, 1, 3)) == Numbers{1, 2});
  CHECK(values(slice(x, 0, -2, 6)) == Numbers{4, 5});
  CHECK(values(slice(x, 0, 0, -4)) == Numbers{0, 1});
  CHECK(values(slice(x, 0, 4, 100)) == Numbers{4, 5});
  CHECK(values(slice(x, 0, -100, 1)) == Numbers{0});
  CHECK(values(slice(x, 0, 1, 6, 2)) == Numbers{1, 3, 5});
  CHECK(values(slice(x, 0, 0, 6, 4)) == Numbers{0, 4});
  CHECK(slice(x, 0, 5, 2).shape() == Shape{0});
  CHECK(slice(x, 0, 6, 6).shape() == Shape{0});
  CHECK(share(slice(x, 0, 1, 3), x));
  CHECK(values(slice(counting({2, 3}), -1, 1, 3)) == Numbers{1, 2, 4, 5});
}

TEST_CASE("slice: a step beyond the end takes no extra memory, backward too") {
  const Tensor x = ones({100}).set_requires_grad();
  for (const std::int64_t step :
       {std::int64_t{1} << 20, std::numeric_limits<std::int64_t>::max()}) {
    CAPTURE(step);
    const Tensor y = slice(x, 0, 3, 100, step);
    REQUIRE(y.shape() == Shape{1});
    const std::int64_t before = memory_stats().live_bytes;
    reset_peak_memory();
    Numbers dx(100, 0.0);
    dx[3] = 1;
    CHECK(values(grad(y, x)) == dx);
    CHECK(memory_stats().peak_bytes - before <= 4 * 8 * 100);  // dx, and dx in double for values()
  }
}

TEST_CASE("narrow and select") {
  const Tensor x = counting({2, 3});
  CHECK(values(narrow(x, 1, 1, 2)) == Numbers{1, 2, 4, 5});
  CHECK(narrow(x, 1, 3, 0).shape() == Shape{2, 0});
  CHECK(values(select(x, 0, 1)) == Numbers{3, 4, 5});
  CHECK(values(select(x, -1, -1)) == Numbers{2, 5});
  CHECK(select(select(x, 0, 0), 0, 2).item() == 2);
}

TEST_CASE("pad counts from the last axis on") {
  const Tensor x = tensor({{1, 2}, {3, 4}});
  CHECK(values(pad(x, {1, 0})) == Numbers{0, 1, 2, 0, 3, 4});
  CHECK(values(pad(x, {0, 1, 1, 0}, 9)) == Numbers{9, 9, 9, 1, 2, 9, 3, 4, 9});
  CHECK(values(pad(x, {})) == values(x));
  CHECK(values(pad(zeros({0}), {1, 2}, 5)) == Numbers{5, 5, 5});
}

TEST_CASE("concat and stack") {
  const Tensor a = tensor({{1, 2}}), b = tensor({{3, 4}, {5, 6}});
  CHECK(values(concat({a, b})) == Numbers{1, 2, 3, 4, 5, 6});
  CHECK(values(concat({transpose(b, 0, 1), b}, -1)) == Numbers{3, 5, 3, 4, 4, 6, 5, 6});
  CHECK(concat({zeros({0, 2}), b}).shape() == Shape{2, 2});
  CHECK(values(concat({a})) == Numbers{1, 2});
  CHECK(values(stack({tensor({1, 2}), tensor({3, 4})})) == Numbers{1, 2, 3, 4});
  CHECK(values(stack({tensor({1, 2}), tensor({3, 4})}, -1)) == Numbers{1, 3, 2, 4});
  CHECK(stack({scalar(1), scalar(2)}).shape() == Shape{2});
  CHECK(stack({zeros({2, 3}), zeros({2, 3})}, 1).shape() == Shape{2, 2, 3});
}

TEST_CASE("split, chunk and unbind return views") {
  const Tensor x = counting({2, 5});
  const auto parts = split(x, {2, 0, 3}, 1);
  CHECK(values(parts[0]) == Numbers{0, 1, 5, 6});
  CHECK(parts[1].shape() == Shape{2, 0});
  CHECK(values(parts[2]) == Numbers{2, 3, 4, 7, 8, 9});
  CHECK(share(parts[2], x));

  const auto sized = split(x, 2, -1);
  CHECK(sized.size() == 3);
  CHECK(sized[2].shape() == Shape{2, 1});
  CHECK(split(zeros({0, 2}), 4)[0].shape() == Shape{0, 2});

  CHECK(chunk(x, 2, 1)[0].shape() == Shape{2, 3});
  CHECK(chunk(x, 4, 1).size() == 3);  // as in PyTorch: parts of ceil(5 / 4) = 2
  CHECK(chunk(x, 9, 1).size() == 5);

  const auto rows = unbind(x);
  CHECK(rows.size() == 2);
  CHECK(values(rows[1]) == Numbers{5, 6, 7, 8, 9});
  CHECK(unbind(x, 1)[3].shape() == Shape{2});
  CHECK(unbind(zeros({0, 2})).empty());
}

TEST_CASE("an unused part has gradient zero") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Tensor x = ones({4}, dtype);
    x.set_requires_grad();
    sum(split(x, {1, 2, 1})[1] * 3.0).backward();
    CHECK(values(x.grad()) == Numbers{0, 3, 3, 0});
    x.zero_grad();
    (unbind(x)[2] * 5.0).backward();
    CHECK(values(x.grad()) == Numbers{0, 0, 5, 0});
  }
}

TEST_CASE("a view detects in-place modification of its storage") {
  Tensor x = counting({2, 2});
  Tensor w = ones({2});
  w.set_requires_grad();
  const Tensor y = w * select(x, 0, 0);
  x.mutable_data<float>()[0] = 5;
  CHECK_THROWS_AS(sum(y).backward(), StateError);
}

TEST_CASE("layout: errors name the op, the sizes and the requirement") {
  const Tensor x = zeros({2, 3});
  const auto shape_message = [](const auto& f) { return message_of<ShapeError>(f); };
  CHECK(shape_message([&] {
          reshape(x, {4, 2});
        }) == "reshape: (2, 3) to (4, 2): the number of elements, 6, must stay the same");
  CHECK(shape_message([&] {
          reshape(x, {4, -1});
        }) == "reshape: (2, 3) to (4, -1): the number of elements, 6, must stay the same");
  CHECK(shape_message([&] {
          reshape(zeros({0}), {0, -1});
        }) == "reshape: (0,) to (0, -1): the number of elements, 0, must stay the same");
  CHECK(shape_message([&] {
          reshape(x, {-1, -1});
        }) ==
        "reshape: (2, 3) to (-1, -1): at most one size may be -1, the others must be 0 or more");
  CHECK(shape_message([&] {
          expand(x, {4, 3});
        }) == "expand: (2, 3) to (4, 3): only an axis of size 1 can be expanded");
  CHECK(shape_message([&] {
          expand(x, {-1, 2, 3});
        }) == "expand: (2, 3) to (-1, 2, 3): only an axis of size 1 can be expanded");
  CHECK(shape_message([&] { expand(x, {3}); }) == "expand: (2, 3) to (3,): axes cannot be removed");
  CHECK(shape_message([&] {
          broadcast_to(x, {-1, 3});
        }) == "broadcast_to: (2, 3) to (-1, 3): sizes must not be negative");
  CHECK(shape_message([&] { permute(x, {0}); }) ==
        "permute: (2, 3) by axes (0,): must contain every axis once");
  CHECK(message_of<IndexError>([&] {
          permute(x, {0, -2});
        }) == "permute: axes (0, -2): axis -2 is repeated");
  CHECK(message_of<IndexError>([&] {
          flip(x, {1, 1});
        }) == "flip: axes (1, 1): axis 1 is repeated");
  CHECK(message_of<IndexError>([&] { transpose(x, 0, 2); }) ==
        "transpose: axis 2 of a tensor with 2 axes: must be in [-2, 2)");
  CHECK(message_of<IndexError>([&] { unsqueeze(x, 3); }) ==
        "unsqueeze: axis 3 of a tensor with 3 axes: must be in [-3, 3)");
}

TEST_CASE("slicing: errors name the op, the sizes and the requirement") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<ValueError>([&] { slice(x, 0, 0, 1, 0); }) ==
        "slice: step 0: must be 1 or more");
  CHECK(message_of<IndexError>([&] { narrow(x, 1, 2, 2); }) ==
        "narrow: 2 elements from 2 on axis 1 of (2, 3): must be within the axis");
  CHECK(message_of<IndexError>([&] { narrow(x, 1, -1, 1); }) ==
        "narrow: 1 elements from -1 on axis 1 of (2, 3): must be within the axis");
  CHECK(message_of<IndexError>([&] { select(x, 1, 3); }) ==
        "select: index 3 on axis 1 of (2, 3): must be in [-3, 3)");
  CHECK(message_of<ShapeError>([&] { pad(x, {1}); }) ==
        "pad: 1 pads for (2, 3): must be two per axis, from the last axis on");
  CHECK(message_of<ShapeError>([&] {
          pad(x, {0, 0, 0, 0, 0, 0});
        }) == "pad: 6 pads for (2, 3): must be two per axis, from the last axis on");
  CHECK(message_of<ValueError>([&] {
          pad(x, {1, -2});
        }) == "pad: pads[1] = -2: must not be negative");
}

TEST_CASE("joining and splitting: errors name the op, the sizes and the requirement") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<ValueError>([] { concat({}); }) ==
        "concat: no tensors: there must be at least one");
  CHECK(message_of<ShapeError>([&] {
          concat({x, zeros({2, 4})});
        }) == "concat: tensor 0 (2, 3) and tensor 1 (2, 4): sizes must be equal except on axis 0");
  CHECK(message_of<ShapeError>([&] {
          concat({x, zeros({3})});
        }) == "concat: tensor 0 (2, 3) and tensor 1 (3,): sizes must be equal except on axis 0");
  CHECK(message_of<DTypeError>([&] {
          concat({x, zeros({2, 3}, DType::f64)});
        }) == "concat: tensor 0 is f32 and tensor 1 is f64: dtypes must be equal");
  CHECK(message_of<ShapeError>([&] {
          stack({x, zeros({3, 2})});
        }) == "stack: tensor 0 (2, 3) and tensor 1 (3, 2): shapes must be equal");
  CHECK(message_of<ShapeError>([&] {
          split(x, {1, 1}, 1);
        }) == "split: (2, 3) on axis 1 into [1, 1]: the sizes must be 0 or more and add up to 3");
  CHECK(message_of<ShapeError>([&] {
          split(x, {4, -1}, 1);
        }) == "split: (2, 3) on axis 1 into [4, -1]: the sizes must be 0 or more and add up to 3");
  CHECK(message_of<ValueError>([&] { split(x, 0); }) == "split: size 0: must be 1 or more");
  CHECK(message_of<ValueError>([&] { chunk(x, 0); }) == "chunk: 0 chunks: must be 1 or more");
}
