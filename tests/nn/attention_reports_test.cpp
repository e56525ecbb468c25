// Bugs reported for other libraries, as tests.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/transformer_layers.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

bool all_finite(const Tensor& x) {
  for (const double value : x.to_vector<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

Tensor random(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
  Rng rng(seed);
  return randn(shape, rng, dtype);
}

Mask keep(const std::vector<bool>& values, const Shape& shape) {
  return Mask::keep(from_data(values, shape));
}

}  // namespace

TEST_CASE("pytorch #160064: fully masked heads give 0, with and without weights") {
  Rng rng(1);
  const nn::MultiheadAttention attention({.embed_dim = 3, .num_heads = 3}, rng);
  const Tensor x = random({1, 5, 3}, 2);
  std::vector<bool> kept(3 * 25, true);
  std::fill(kept.begin(), kept.begin() + 25, false);  // head 0 is fully masked
  const Mask mask = keep(kept, {1, 3, 5, 5});
  const Tensor y = attention(x, x, x, mask);
  CHECK(all_finite(y));
  const Tensor weights = attention.weights(x, attention.project(x, x), mask);  // (1, 3, 5, 5)
  CHECK(largest(select(weights, 1, 0)) == 0);
  CHECK(max_difference(sum(narrow(weights, 1, 1, 2), -1), ones({1, 2, 5})) < 1e-6);
  sum(square(y)).backward();
  CHECK(all_finite(attention.in_proj_weight.grad()));
}

TEST_CASE("pytorch #41508: a fully masked row gives no NaN gradients") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto leaf = [&](std::uint64_t seed) {
      return random({2, 2, 4, 3}, seed, dtype).set_requires_grad();
    };
    Tensor q = leaf(1), k = leaf(2), v = leaf(3);
    const Mask mask = Mask::lengths({4, 0}) & Mask::causal();
    const Tensor y = scaled_dot_product_attention(q, k, v, mask);
    CHECK(largest(select(y, 0, 1)) == 0);
    sum(square(y) + y).backward();
    for (const Tensor& x : {q, k, v}) {
      CHECK(all_finite(x.grad()));
      CHECK(largest(select(x.grad(), 0, 1)) == 0);
      CHECK(largest(select(x.grad(), 0, 0)) > 0);
    }
  }
}

TEST_CASE("pytorch #127055, #141128: whole blocks of masked keys at the start and at the end") {
  // Left padding longer than any tile: the running maximum starts at -infinity and must not make
  // exp(-inf - -inf) of it; by a mask, and by a bias of -infinity.
  constexpr std::int64_t S = 700, padding = 600;
  const Tensor q = random({1, 1, 5, 8}, 1), k = random({1, 1, S, 8}, 2),
               v = random({1, 1, S, 4}, 3);
  const Tensor expected = scaled_dot_product_attention(q, narrow(k, 2, padding, S - padding),
                                                       narrow(v, 2, padding, S - padding));
  std::vector<bool> kept(S, false);
  std::fill(kept.begin() + padding, kept.end(), true);
  CHECK(max_difference(scaled_dot_product_attention(q, k, v, keep(kept, {1, S})), expected) < 1e-6);
  Tensor bias = zeros({1, S});
  narrow(bias, 1, 0, padding).fill(-infinity);
  CHECK(max_difference(scaled_dot_product_attention(q, k, v, Mask::none(),
                                                    {.score_mod = ScoreMod::bias(bias)}),
                       expected) < 1e-6);
  const Tensor reversed =
      scaled_dot_product_attention(q, flip(k, {2}), flip(v, {2}), Mask::lengths({S - padding}));
  CHECK(max_difference(reversed, expected) < 1e-6);
  const Tensor none = scaled_dot_product_attention(q, k, v, Mask::lengths({0}));
  CHECK(largest(none) == 0);
}

TEST_CASE("pytorch #108108, mlx #2835: the corner of a causal mask must be given") {
  const Tensor q = random({1, 1, 1, 4}, 1), k = random({1, 1, 16, 4}, 2),
               v = random({1, 1, 16, 4}, 3);
  CHECK(message_of<ShapeError>([&] { scaled_dot_product_attention(q, k, v, Mask::causal()); }) ==
        "Mask::causal: 1 queries and 16 keys: corner must be Corner::top_left or "
        "Corner::bottom_right if their numbers differ");
  using enum Mask::Corner;
  const auto first = narrow(v, 2, 0, 1), all = scaled_dot_product_attention(q, k, v);
  CHECK(max_difference(scaled_dot_product_attention(q, k, v, Mask::causal(top_left)), first) <
        1e-6);
  CHECK(max_difference(scaled_dot_product_attention(q, k, v, Mask::causal(bottom_right)), all) <
        1e-6);
  // More queries than keys, bottom right: the first queries are fully masked.
  const Tensor y = scaled_dot_product_attention(random({1, 1, 5, 4}, 4), narrow(k, 2, 0, 2),
                                                narrow(v, 2, 0, 2), Mask::causal(bottom_right));
  CHECK(largest(narrow(y, 2, 0, 3)) == 0);
  CHECK(max_difference(narrow(y, 2, 3, 1), narrow(v, 2, 0, 1)) < 1e-6);
}

TEST_CASE("pytorch #97605: a mask means and measures the same in train and in eval mode") {
  Rng rng(1);
  nn::MultiheadAttention attention({.embed_dim = 4, .num_heads = 4}, rng);
  const Tensor x = random({2, 8, 4}, 2);
  std::vector<bool> by_row(2 * 64);
  for (std::size_t i = 0; i < by_row.size(); ++i) by_row[i] = i % 3 != 0;
  const Mask mask = keep(by_row, {2, 8, 8}) & Mask::lengths({8, 5});
  const Tensor in_training = attention(x, x, x, mask);
  attention.eval();
  const NoGrad guard;
  CHECK(max_difference(attention(x, x, x, mask), in_training) == 0);
}

TEST_CASE("pytorch #90842: reported weights sum to 1 in training with dropout too") {
  Rng rng(1);
  const nn::MultiheadAttention attention({.embed_dim = 8, .num_heads = 2, .dropout = 0.5}, rng);
  const Tensor x = random({2, 6, 8}, 2);
  const Tensor weights = attention.weights(x, attention.project(x, x));  // (2, 2, 6, 6)
  CHECK(max_difference(sum(weights, -1), ones({2, 2, 6})) < 1e-6);
}

TEST_CASE("pytorch #101967: keys and values after a length may be any values, NaN too") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Tensor k = random({1, 1, 4, 3}, 1), v = random({1, 1, 4, 3}, 2);
  const Tensor q = random({1, 1, 2, 3}, 3);
  const Tensor expected = scaled_dot_product_attention(q, narrow(k, 2, 0, 2), narrow(v, 2, 0, 2));
  for (const double poison : {nan, infinity}) {
    for (std::int64_t i = 6; i < 12; ++i)
      k.mutable_data<float>()[i] = v.mutable_data<float>()[i] = static_cast<float>(poison);
    CHECK(max_difference(scaled_dot_product_attention(q, k, v, Mask::lengths({2})), expected) <
          1e-6);
  }
}
