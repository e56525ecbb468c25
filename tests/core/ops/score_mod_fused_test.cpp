// Score modifications in the fused attention, against the reference.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ragged.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include "score_mod_support.h"
#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

struct Problem {
  Tensor q, k, v, dy;

  explicit Problem(const Sizes& n, std::int64_t G, std::int64_t D, DType dtype = DType::f64)
      : q(random({n.B, n.H, n.T, D}, 11, dtype).set_requires_grad()),
        k(random({n.B, G, n.S, D}, 12, dtype).set_requires_grad()),
        v(random({n.B, G, n.S, D + 1}, 13, dtype).set_requires_grad()),
        dy(random({n.B, n.H, n.T, D + 1}, 14, dtype)) {}
};

// The output, and the gradients by q, k, v and the leaves.
template <class Attention>
std::vector<Tensor> attend(const Problem& p, const Case& c, const std::vector<Tensor>& leaves,
                           const Mask& mask, const Attention& attention) {
  AttentionOptions options;
  options.score_mod = c.make(leaves);
  const Tensor y = attention(p.q, p.k, p.v, mask, options);
  std::vector<Tensor> inputs{p.q, p.k, p.v};
  inputs.insert(inputs.end(), leaves.begin(), leaves.end());
  std::vector<Tensor> all = grad({&y, 1}, inputs, {&p.dy, 1});
  all.push_back(y);
  return all;
}

const auto fused = [](const auto&... x) { return scaled_dot_product_attention(x...); };
const auto by_definition = [](const auto&... x) { return attention_reference(x...).output; };

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

}  // namespace

TEST_CASE(
    "score_mod: the fused attention with a score_mod equals the reference, values and gradients") {
  for (const Case& c : cases())
    for (const Sizes& n : {Sizes{2, 4, 5, 7}, {1, 2, 70, 133}, {2, 2, 1, 40}, {1, 4, 100, 65}}) {
      CAPTURE(c.name);
      CAPTURE(n.T);
      const auto leaves = leaves_for(c, n), leaves32 = leaves_for(c, n, DType::f32);
      const Problem p(n, 2, 8), p32(n, 2, 8, DType::f32);
      const Mask causal = Mask::causal(Corner::bottom_right);
      for (const Mask& mask : {Mask::none(), causal & Mask::window(30, 30, Corner::top_left)}) {
        const auto expected = attend(p, c, leaves, mask, by_definition);
        const auto found = attend(p, c, leaves, mask, fused);
        const auto in_f32 = attend(p32, c, leaves32, mask, fused);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          CAPTURE(i);
          const double scale = 1 + largest(expected[i]);
          CHECK(max_difference(found[i], expected[i]) <= 1e-10 * scale);
          CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= 1e-4 * scale);
        }
      }
    }
}

TEST_CASE("attention_weights of some queries apply the score_mod") {
  const Sizes n{2, 2, 9, 12};
  const Problem p(n, 2, 4);
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    AttentionOptions options;
    options.score_mod = c.make(leaves_for(c, n));
    const Tensor whole = attention_weights(p.q, p.k, Mask::none(), options, 0, n.T);
    const Tensor part = attention_weights(p.q, p.k, Mask::none(), options, 3, 7);
    CHECK(max_difference(part, narrow(whole, 2, 3, 4)) == 0);
    CHECK(max_difference(matmul(whole, p.v.detach()),
                         scaled_dot_product_attention(p.q, p.k, p.v, Mask::none(), options)) <=
          1e-12);
  }
}

TEST_CASE("score_mod: bitwise equal for any number of threads") {
  const int before = num_threads();
  const Sizes n{2, 2, 150, 150};
  const Problem p(n, 1, 16, DType::f32);
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const auto leaves = leaves_for(c, n, DType::f32);
    set_num_threads(1);
    const auto expected = attend(p, c, leaves, Mask::causal(), fused);
    for (const int threads : {2, 3, 8}) {
      set_num_threads(threads);
      const auto found = attend(p, c, leaves, Mask::causal(), fused);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
  }
  set_num_threads(before);
}

// Its message is that of the first tile that throws, in the order of the tiles.
TEST_CASE("score_mod: a lambda that throws in several threads leaves no partial state") {
  const int before = num_threads();
  set_num_threads(3);
  const Sizes n{2, 2, 300, 300};
  const Problem p(n, 2, 16);
  const Tensor numbers = zeros({1, 1, 300}, DType::f64).set_requires_grad();
  const auto attention_that_reads = [&](std::int64_t further) {
    AttentionOptions options;
    options.score_mod = score_mod([further](auto s, const ScorePlace& at,
                                            auto read) { return s + read(0, at.key + further); },
                                  {numbers});
    return scaled_dot_product_attention(p.q, p.k, p.v, Mask::none(), options);
  };
  const auto gradients = [&] {
    const Tensor y = attention_that_reads(0);
    return grad({&y, 1}, {{p.q, p.k, p.v, numbers}}, {&p.dy, 1});
  };
  const auto expected = gradients();
  for (int again = 0; again < 5; ++again)
    CHECK(message_of<IndexError>([&] { attention_that_reads(150); }) ==
          "score_mod: read(0, 300): the slice has 300 elements");
  const auto found = gradients();
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(max_difference(found[i], expected[i]) == 0);
  set_num_threads(before);
}

TEST_CASE("score_mod: a packed batch equals its sequences one by one, each with its own corner") {
  const RaggedIndex queries({3, 1, 70}), keys({5, 4, 90});
  const Tensor q = random({74, 2, 4}, 1), k = random({99, 2, 4}, 2), dy = random({74, 2, 4}, 3);
  const auto leaf = [] { return random({1, 2, 9}, 4).set_requires_grad(); };
  const auto with = [](const Tensor& table) {
    AttentionOptions options;
    options.score_mod = near_only(table).then(ScoreMod::alibi(Corner::bottom_right));
    return options;
  };
  const Tensor packed_leaf = leaf(), leaf_of_each = leaf();
  const Ragged y = scaled_dot_product_attention(Ragged{q, queries}, {k, keys}, {k, keys},
                                                Mask::none(), with(packed_leaf));
  y.values.backward(dy);
  for (std::int64_t b = 0; b < 3; ++b) {
    const auto of = [&](const Tensor& x, const RaggedIndex& index) {  // (1, H, T_b, D)
      return unsqueeze(transpose(narrow(x, 0, index.offset(b), index.length(b)), 0, 1), 0);
    };
    const Tensor one = scaled_dot_product_attention(of(q, queries), of(k, keys), of(k, keys),
                                                    Mask::none(), with(leaf_of_each));
    CHECK(max_difference(one, of(y.values, queries)) <= 1e-12);
    one.backward(of(dy, queries).contiguous());
  }
  CHECK(largest(leaf_of_each.grad()) > 0);
  CHECK(max_difference(packed_leaf.grad(), leaf_of_each.grad()) <= 1e-12);
}

TEST_CASE("score_mod: a lambda that drops keys equals a mask") {
  const Sizes n{2, 2, 40, 40};
  const Problem p(n, 2, 8);
  const auto band = [](auto score, const ScorePlace& at, auto) {
    return where(at.key <= at.query && at.query - at.key <= 5 && at.query != 7, score,
                 kMinusInfinity);
  };
  std::vector<bool> kept;
  for (std::int64_t t = 0; t < n.T; ++t)
    for (std::int64_t s = 0; s < n.S; ++s) kept.push_back(s <= t && t - s <= 5 && t != 7);
  const Case with_lambda{"", nullptr, [&](const auto&) { return score_mod(band); }, nullptr};
  const Case without{"", nullptr, [](const auto&) { return ScoreMod(); }, nullptr};
  const Mask mask = Mask::keep(from_data(kept, {n.T, n.S}));
  const auto expected = attend(p, without, {}, mask, fused);
  const auto found = attend(p, with_lambda, {}, Mask::none(), fused);
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(max_difference(found[i], expected[i]) <= 1e-13);
  CHECK(largest(narrow(found[3], 2, 7, 1)) == 0);  // a fully masked query
  CHECK(largest(narrow(found[0], 2, 7, 1)) == 0);
}

TEST_CASE("score_mod: dropped keys give no gradient, not even NaN") {
  const Sizes n{1, 1, 6, 6};
  const Problem p(n, 1, 4);
  // log has an infinite derivative there
  const Tensor leaf = zeros({1, 1, n.S}, DType::f64).set_requires_grad();
  const Case c{"", nullptr,
               [](const auto& in) {
                 return score_mod(
                     [](auto score, const ScorePlace& at, auto read) {
                       return at.key > at.query ? score + log(read(0, at.key)) : score;
                     },
                     {in[0]});
               },
               nullptr};
  for (const Mask& mask : {Mask::none(), Mask::causal()})
    for (const auto& all :
         {attend(p, c, {leaf}, mask, fused), attend(p, c, {leaf}, mask, by_definition)})
      for (const Tensor& g : all) CHECK(std::isfinite(largest(g)));
}

TEST_CASE("score_mod: a lambda in the fused attention takes memory linear in T") {
  const auto extra = [](std::int64_t T) {
    const Sizes n{1, 2, T, T};
    const Problem p(n, 2, 16, DType::f32);
    const Tensor table = random({1, 2, 9}, 3, DType::f32).set_requires_grad();
    AttentionOptions options;
    options.score_mod = near_only(table).then(ScoreMod::soft_cap(5)).then(ScoreMod::alibi());
    reset_peak_memory();
    const std::int64_t before = memory_stats().live_bytes;
    scaled_dot_product_attention(p.q, p.k, p.v, Mask::causal(), options).backward(p.dy);
    CHECK(table.grad().defined());
    return memory_stats().peak_bytes - before;
  };
  const std::int64_t at_1k = extra(1024), at_4k = extra(4096);
  CHECK(at_4k <= 5 * at_1k);
  CHECK(at_4k < 4096 * 4096 * 4 / 4);  // a quarter of one score matrix
}
