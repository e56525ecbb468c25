// Sizes, axes and lengths at the ends of int64: a fovea::Error that names them, or the right
// result.
#include <fovea/core/autograd.h>
#include <fovea/core/mask.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/score_mod.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/core/sizes.h>
#include <fovea/core/threads.h>
#include <fovea/tests/fuzz/op_graph.h>
#include <fovea/tests/support/compare.h>

#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

using Ints = std::vector<std::int64_t>;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(), kLeast = -kMost - 1;
constexpr std::int64_t k2_31 = std::int64_t{1} << 31, k2_32 = std::int64_t{1} << 32,
                       k2_62 = std::int64_t{1} << 62;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("layout ops with extreme arguments agree with a reference, forward and backward") {
  test::OpGraphCounts all;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(20 + rng.below(180)));
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng.below(256));
    std::string fault;
    try {
      const test::OpGraphCounts counts = test::OpGraph(bytes).run();
      all.results += counts.results;
      all.errors += counts.errors;
      all.gradients += counts.gradients;
    } catch (const std::exception& error) {
      fault = error.what();
    }
    REQUIRE(fault == "");
  }
  CHECK(all.results > 10000);
  CHECK(all.errors > 10000);
  CHECK(all.gradients > 10000);
}

TEST_CASE("reshape and view to sizes whose product overflows") {
  const Tensor one = ones({1}), none = zeros({0});
  const std::string rule = "the product of the nonzero sizes must be at most 2^48";
  CHECK(message_of<ShapeError>([&] {
          reshape(one, {kMost, kMost});
        }) == "reshape: shape (9223372036854775807, 9223372036854775807): " + rule);
  CHECK(message_of<ShapeError>([&] {
          view(one, {kMost, kMost});
        }) == "view: shape (9223372036854775807, 9223372036854775807): " + rule);
  CHECK(message_of<ShapeError>([&] {
          reshape(none, {k2_32, k2_32});
        }) == "reshape: shape (4294967296, 4294967296): " + rule);
  CHECK_THROWS_AS(reshape(none, {k2_32, k2_32, -1}), ShapeError);
  CHECK_THROWS_AS(view(none, {0, k2_62, 4}), ShapeError);
  CHECK(reshape(none, {0, k2_32}).shape() == Shape{0, k2_32});
  CHECK(reshape(none, {k2_32, 0, 2}).strides() == Strides{0, 2, 1});
}

TEST_CASE("factories reject impossible shapes with their name") {
  for (const Shape& shape : {Shape{k2_62}, Shape{k2_32, k2_32}, Shape{kMost, kMost}, Shape{-1},
                             Shape{kLeast}, Shape{0, k2_62, 4}, Shape{kLeast, kLeast}}) {
    CAPTURE(shape.str());
    Rng rng(1);
    const std::string begin = "empty: shape " + shape.str() + ": ";
    CHECK(message_of<ShapeError>([&] { empty(shape); }).starts_with(begin));
    CHECK_THROWS_AS(full(shape, 1, DType::boolean), ShapeError);
    CHECK_THROWS_AS(randn(shape, rng), ShapeError);
    CHECK_THROWS_AS(from_data(std::vector<float>{}, shape), ShapeError);
    CHECK_THROWS_AS(static_cast<void>(shape.numel()), ShapeError);
  }
  CHECK_THROWS_AS(eye(k2_62), ShapeError);
  CHECK_THROWS_AS(eye(-1), ShapeError);
}

TEST_CASE("a tensor larger than the machine's memory") {
  const std::int64_t n = std::int64_t{1} << 45;
  CHECK(message_of<ShapeError>([&] { zeros({n}); }) ==
        "empty: shape (35184372088832,) of f32: 140737488355328 bytes cannot be allocated");
  const Tensor wide = expand(ones({1}), {n});  // a view takes no memory
  CHECK(wide.numel() == n);
  CHECK_THROWS_AS(wide.contiguous(), ShapeError);
  CHECK_THROWS_AS(wide + 1.0, ShapeError);
  CHECK_THROWS_AS(expand(ones({1}), {k2_32, k2_32}), ShapeError);
}

TEST_CASE("a view is never outside its storage") {
  const Tensor x = arange(0, 6);  // f32
  const std::string rule = ": must be within the storage";
  CHECK(message_of<ShapeError>([&] { alias(x, {7}, {1}); }) ==
        "alias: (7,) with strides (1,) from element 0 of (6,) on" + rule);
  for (const auto& [shape, strides, offset] :
       {std::tuple{Shape{2, 3}, Strides{4, 1}, std::int64_t{0}},
        {Shape{6}, Strides{1}, 1},
        {Shape{1}, Strides{1}, -1},
        {Shape{2}, Strides{-1}, 0},
        {Shape{2}, Strides{k2_62}, 0},
        {Shape{3}, Strides{k2_62}, 0},
        {Shape{3}, Strides{kLeast}, 0},
        {Shape{1}, Strides{1}, kMost},
        {Shape{2, 2}, Strides{kMost, kMost}, 0}})
    CHECK_THROWS_AS(alias(x, shape, strides, offset), ShapeError);
  CHECK(alias(x, {3}, {-2}, 5).to_vector<float>() == std::vector<float>{5, 3, 1});
  CHECK(alias(narrow(x, 0, 2, 2), {4}, {1}, -1).to_vector<float>() ==
        std::vector<float>{1, 2, 3, 4});
  CHECK(alias(x, {0}, {k2_62}, kMost).numel() == 0);
}

TEST_CASE("pad, split, chunk and slices at the ends of int64") {
  const Tensor x = arange(0, 4);
  CHECK(message_of<ShapeError>([&] {
          pad(x, {kMost, 1});
        }) == "pad: 9223372036854775807 + 1: must be below 2^63");
  CHECK(message_of<ShapeError>([&] {
          pad(x, {k2_62, 0});
        }) ==
        "pad: shape (4611686018427387908,): the product of the nonzero sizes must be at most 2^48");
  CHECK_THROWS_AS(split(x, {kMost, kMost, 6}), ShapeError);  // adds up to 4, modulo 2^64
  CHECK(split(x, kMost).size() == 1);
  CHECK(chunk(x, kMost).size() == 4);
  CHECK(slice(x, 0, kLeast, kMost, kMost).to_vector<float>() == std::vector<float>{0});
  const Tensor wide = expand(ones({1}), {std::int64_t{1} << 45});
  CHECK(message_of<ValueError>([&] { unbind(wide); }) ==
        "unbind: parts = 35184372088832: must fit into memory");
  CHECK_THROWS_AS(split(wide, 1), ValueError);
  CHECK(split(wide, kMost).size() == 1);
  CHECK(split(zeros({0}), Ints{}).empty());
  CHECK_THROWS_AS(narrow(x, 0, kMost, 1), IndexError);
  CHECK_THROWS_AS(narrow(x, 0, 1, kMost), IndexError);
  CHECK_THROWS_AS(select(x, 0, kLeast), IndexError);
}

TEST_CASE("arange limits the number of elements") {
  CHECK(arange(kLeast).numel() == 0);
  CHECK(message_of<ValueError>([] { arange(kMost); }).starts_with("arange: from 0 to "));
  CHECK_THROWS_AS(arange(0, 1, 1e-300), ValueError);
  CHECK_THROWS_AS(arange(0, kInfinity), ValueError);
  CHECK_THROWS_AS(arange(0, 1, kNaN), ValueError);
  CHECK(message_of<ValueError>([] { arange(1e19, 2e19, 1e19, DType::i64); }) ==
        "arange: from 1e+19 to 2e+19 as i64: must be below 2^63");
  CHECK(arange(-9e18, 9e18, 9e18, DType::i64).to_vector<std::int64_t>() ==
        Ints{-9000000000000000000, 0});
}

TEST_CASE("floats beyond int64, infinities and NaN become the nearest int64 and 0") {
  const std::vector<double> values{kInfinity, -kInfinity, kNaN, 1e30, -1e30,
                                   0x1p63,    -0x1p63,    2.9,  -2.9};
  const Ints wanted{kMost, kLeast, 0, kMost, kLeast, kMost, kLeast, 2, -2};
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Tensor x = from_data(values, {9}).to(dtype);
    CHECK(x.to(DType::i64).to_vector<std::int64_t>() == wanted);
    CHECK(x.to_vector<std::int64_t>() == wanted);
    for (std::int64_t i = 0; i < 9; ++i)
      CHECK(select(x, 0, i).item<std::int64_t>() == wanted[static_cast<std::size_t>(i)]);
    CHECK(select(x, 0, 0).item<int>() == std::numeric_limits<int>::max());
    CHECK(select(x, 0, 1).item<unsigned char>() == 0);
    CHECK(select(x, 0, 2).item<bool>());
  }
  const Tensor scattered = transpose(from_data(std::vector<double>{kNaN, 1e30}, {1, 2}), 0, 1);
  CHECK(scattered.to(DType::i64).to_vector<std::int64_t>() == Ints{0, kMost});
  CHECK_THROWS_AS(full({1}, kNaN, DType::i64), ValueError);
  CHECK_THROWS_AS(full({1}, 1e30, DType::i64), ValueError);
}

TEST_CASE("ids and classes at the ends of int64") {
  const Tensor ids = from_data(Ints{0, 1}, {2});
  for (const std::int64_t classes : {kMost, k2_62}) CHECK_THROWS_AS(one_hot(ids, classes), Error);
  CHECK_THROWS_AS(one_hot(ids, kLeast), Error);
  CHECK_THROWS_AS(one_hot(from_data(Ints{}, {0}), kLeast), ShapeError);
  for (const std::int64_t id : {kMost, kLeast, k2_32, std::int64_t{-1}}) {
    const Tensor wrong = from_data(Ints{id}, {1});
    CHECK_THROWS_AS(embedding(ones({3, 2}), wrong), IndexError);
    CHECK_THROWS_AS(index_add(ones({3}), 0, wrong, ones({1})), IndexError);
  }
}

TEST_CASE("ragged lengths that overflow") {
  CHECK(message_of<ValueError>([] {
          RaggedIndex({k2_62, k2_62, k2_62, k2_62});
        }) ==
        "RaggedIndex: length = 4611686018427387904 after 0 rows: the sum must be at most 2^48");
  CHECK_THROWS_AS(RaggedIndex({1, kMost}), ValueError);
  CHECK_THROWS_AS(RaggedIndex({kLeast}), ValueError);
  CHECK(message_of<ValueError>([] { RaggedIndex::equal(kMost, 1); }) ==
        "RaggedIndex::equal: B = 9223372036854775807: must fit into memory");
  CHECK(message_of<ValueError>([] { RaggedIndex::equal(-1, 1); }) ==
        "RaggedIndex::equal: B = -1: must be at least 0");
  CHECK_THROWS_AS(RaggedIndex::equal(2, kMost), ValueError);
  CHECK_THROWS_AS(RaggedIndex::equal(2, -1), ValueError);
  const RaggedIndex one_long({k2_31, 0, 0});  // padded it would take 3 * 2^31 rows of 2^31
  CHECK_THROWS_AS(pad({expand(ones({1, 1}), {k2_31, k2_31}), one_long}), Error);
}

TEST_CASE("windows of every width equal a comparison with 128-bit integers") {
  using test::Wide;
  const Ints edges{kMost, kMost - 1, k2_62, 3, 1, 0, -1, kLeast};
  const std::int64_t T = 3, S = 5;
  for (const std::int64_t left : edges)
    for (const std::int64_t right : edges) {
      CAPTURE(left);
      CAPTURE(right);
      const Mask mask = Mask::window(left, right, Mask::Corner::bottom_right);
      std::vector<bool> wanted;
      for (std::int64_t t = 0; t < T; ++t)
        for (std::int64_t s = 0; s < S; ++s) {
          const Wide distance = Wide{s} - (t + S - T);
          wanted.push_back((left < 0 || distance >= -Wide{left}) &&
                           (right < 0 || distance <= right));
        }
      CHECK(mask.to_tensor(1, T, S).to_vector<bool>() == wanted);
    }
}

TEST_CASE("masks for impossible sizes") {
  const Mask causal = Mask::causal(Mask::Corner::top_left);
  CHECK(message_of<ShapeError>([&] { causal.to_tensor(1, -1, 2); }) ==
        "Mask: shape (1, 1, -1): sizes must not be negative");
  CHECK_THROWS_AS(causal.to_tensor(k2_62, k2_62, 1), ShapeError);
  CHECK_THROWS_AS(causal.to_tensor(1, k2_62, 1), ShapeError);
  CHECK_THROWS_AS(Mask::none().to_tensor(1, k2_31, k2_31), ShapeError);
  CHECK(message_of<ValueError>([&] {
          causal.plan({1, 1, std::int64_t{1} << 45, 1});
        }) == "Mask: B * T = 35184372088832: must fit into memory");
  CHECK_THROWS_AS(Mask::lengths({kLeast}), ValueError);
  CHECK_THROWS_AS(Mask::lengths({kMost}).to_tensor(1, 2, 2), ValueError);
  CHECK_THROWS_AS(Mask::prefix_lm({kMost}).to_tensor(1, 2, 2), ValueError);
}

TEST_CASE("thread counts") {
  const int before = num_threads();
  for (const int n : {100000, 0, -1, std::numeric_limits<int>::min()})
    CHECK(message_of<ValueError>([n] { set_num_threads(n); }) ==
          "set_num_threads: n = " + std::to_string(n) + ": must be from 1 to 1024");
  CHECK(num_threads() == before);
  set_num_threads(64);
  CHECK(sum(ones({100000})).item<double>() == 100000);
  set_num_threads(before);
}

TEST_CASE("distances and heads of score modifications") {
  CHECK(t5_bucket(kLeast, 32) == t5_bucket(-kMost, 32));
  CHECK(t5_bucket(kMost, 32) == 31);
  CHECK(t5_bucket(kLeast, 32, {.bidirectional = false}) == 31);
  CHECK(t5_bucket(kMost, kMost, {.max_distance = kMost}) < kMost);
  CHECK(message_of<ValueError>([] { alibi_slopes(k2_62); }) ==
        "alibi_slopes: H = 4611686018427387904: must be from 1 to 1048576");
  CHECK_THROWS_AS(alibi_slopes(0), ValueError);
}

TEST_CASE("checked arithmetic of sizes") {
  CHECK(checked_add("f", kMost - 1, 1) == kMost);
  CHECK(checked_sub("f", kLeast + 1, 1) == kLeast);
  CHECK(checked_mul("f", k2_31, k2_31) == k2_62);
  CHECK(message_of<ShapeError>([] { checked_add("f", kMost, 1); }) ==
        "f: 9223372036854775807 + 1: must be below 2^63");
  CHECK(message_of<ShapeError>([] { checked_sub("f", kLeast, 1); }) ==
        "f: -9223372036854775808 - 1: must be below 2^63");
  CHECK(message_of<ShapeError>([] { checked_mul("f", k2_32, k2_32); }) ==
        "f: 4294967296 * 4294967296: must be below 2^63");
  CHECK(message_of<ValueError>([] { checked_range("f", "n", 0, 1, 8); }) ==
        "f: n = 0: must be from 1 to 8");
  CHECK(message_of<ValueError>([] { checked_range("f", "n", -1, 0); }) ==
        "f: n = -1: must be at least 0");
  CHECK(message_of<ValueError>([] { checked_vector<double>("f", "n", kMost); }) ==
        "f: n = 9223372036854775807: must fit into memory");
  CHECK(checked_vector("f", "n", 3, 1.5) == std::vector<double>{1.5, 1.5, 1.5});
}

TEST_CASE("tensors without elements cost nothing, whatever their other sizes") {
  constexpr std::int64_t n = std::int64_t{1} << 40;
  const auto leaf = [](const Shape& shape) { return empty(shape).set_requires_grad(); };
  const Tensor index = from_data(std::vector<std::int64_t>{0, 2}, {2});
  const std::vector<Tensor> results = {
      index_select(leaf({n, 3, 0}), 1, index),
      cumsum(leaf({n, 0}), 1),
      cumsum(leaf({n, 0}), 0),
      softmax(leaf({n, 0}), -1),
      concat({leaf({n, 0}), leaf({n, 0})}, 1),
      expand(leaf({1, 0}), {n, 0}).contiguous(),
      leaf({n, 0}) + leaf({1, 1}),
      matmul(leaf({n, 0, 3}), leaf({n, 3, 0})),
      scaled_dot_product_attention(leaf({n, 1, 0, 4}), leaf({n, 1, 0, 4}), leaf({n, 1, 0, 4})),
  };
  for (const Tensor& y : results) {
    CHECK(y.numel() == 0);
    y.backward(empty(y.shape()));
  }
}
