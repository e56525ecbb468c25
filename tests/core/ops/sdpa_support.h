// Shared by the tests of scaled dot-product attention: problems, masks, and all results.
#pragma once

#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace fovea::test::sdpa {

inline constexpr double infinity = std::numeric_limits<double>::infinity();

struct Sizes {
  std::int64_t B, H, G, T, S, D, E;
};

struct Options {
  double dropout = 0;
  bool sinks = false, lse = true;  // lse: it has a cotangent too
  ScoreMod score_mod = {};
};

struct Problem {
  std::vector<Tensor> inputs;  // q, k, v, sinks: leaves
  Tensor dy, dlse;             // the cotangents

  Problem to(DType dtype) const {
    Problem p{{}, dy.to(dtype), dlse.to(dtype)};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    return p;
  }
};

inline Problem random_problem(const Sizes& n) {
  Rng rng(7);
  const auto draw = [&](const Shape& shape) { return randn(shape, rng, DType::f64); };
  Problem p{{}, draw({n.B, n.H, n.T, n.E}), draw({n.B, n.H, n.T})};
  for (const Shape& shape : {Shape{n.B, n.H, n.T, n.D}, Shape{n.B, n.G, n.S, n.D},
                             Shape{n.B, n.G, n.S, n.E}, Shape{n.H}})
    p.inputs.push_back(draw(shape).to(DType::f32).to(DType::f64).set_requires_grad());
  return p;
}

// The gradients, the output and the log-sum-exp.
template <class Attention>
std::vector<Tensor> results(const Problem& p, const Mask& mask, const Options& o,
                            Attention attention) {
  const auto& x = p.inputs;
  Rng rng(11);
  AttentionOptions options{.dropout = o.dropout, .rng = &rng, .score_mod = o.score_mod};
  if (o.sinks) options.sinks = x[3];
  const AttentionResult y = attention(x[0], x[1], x[2], mask, options);
  const Tensor outputs[] = {y.output, y.logsumexp};
  const Tensor seeds[] = {p.dy, where(eq(without_graph(y.logsumexp), -infinity), 0.0, p.dlse)};
  const std::size_t n = o.lse ? 2 : 1;
  std::vector<Tensor> all = grad({outputs, n}, {x.data(), o.sinks ? 4u : 3u}, {seeds, n});
  all.push_back(y.output);
  all.push_back(y.logsumexp);
  return all;
}

inline std::vector<Tensor> fused(const Problem& p, const Mask& mask, const Options& o = {}) {
  return results(p, mask, o, scaled_dot_product_attention_with_lse);
}

inline Tensor random_table(const Shape& shape, double kept) {
  Rng rng(3);
  Tensor table = empty(shape, DType::boolean);
  bool* cell = table.mutable_data<bool>();
  for (std::int64_t i = 0; i < table.numel(); ++i) cell[i] = rng.chance(kept);
  return table;
}

inline std::vector<Mask> masks_for(const Sizes& n) {
  std::vector<std::int64_t> lengths, prefixes;
  for (std::int64_t b = 0; b < n.B; ++b) {
    lengths.push_back((b * 3 + n.S / 2) % (n.S + 1));
    prefixes.push_back(b % (n.S + 1));
  }
  if (n.B > 1) lengths[1] = 0;
  const auto corner = Mask::Corner::bottom_right;
  std::vector<std::int64_t> query_ids, key_ids;
  for (std::int64_t t = 0; t < n.T; ++t) query_ids.push_back(t * 3 / n.T);
  for (std::int64_t s = 0; s < n.S; ++s) key_ids.push_back(s * 7 % 4);
  return {Mask::none(),
          Mask::causal(corner),
          Mask::lengths(lengths),
          Mask::causal(corner) & Mask::lengths(lengths),
          Mask::window(3, 1, Mask::Corner::top_left),
          Mask::window(9, 0, corner),
          Mask::prefix_lm(prefixes, corner),
          Mask::keep(random_table({n.T, n.S}, 0.4)),
          Mask::keep(random_table({n.B, n.H, n.T, n.S}, 0.1)) & Mask::causal(corner),
          Mask::drop(random_table({n.B, 1, n.S}, 0.6)),
          Mask::documents(from_data(query_ids, {n.T}), from_data(key_ids, {n.S}))};
}

inline double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

inline double largest_finite(const Tensor& x) { return largest(where(eq(x, -infinity), 0.0, x)); }

// f64: 1e-10. f32: a score sums D products and a result sums S or T terms (scaled by 1 / (1 - p)
// under dropout), each step with a rounding of 2^-24; at most 1e-4 of the largest result.
inline void check_same(const std::vector<Tensor>& found, const std::vector<Tensor>& in_f32,
                       const std::vector<Tensor>& expected, const Sizes& n) {
  const auto terms = static_cast<double>(32 + 4 * (n.D + n.E) + n.S + n.T * n.H / n.G);
  const double f32 = std::min(1e-4, terms * 0x1p-24);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    const double scale = 1 + largest_finite(expected[i]);
    CHECK(max_difference(found[i], expected[i]) <= 1e-10 * scale);
    CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= f32 * scale);
  }
}

// Full and partial tiles and strips, grouped heads, odd widths; up to eight queries use the row
// path. In the last but one the backward splits the keys into chunks, in the last one head's keys
// are several blocks.
inline const std::vector<Sizes> all_sizes = {
    {1, 1, 1, 1, 1, 1, 1},    {2, 4, 2, 3, 5, 4, 7},       {3, 2, 1, 8, 40, 17, 5},
    {2, 2, 1, 9, 15, 3, 33},  {2, 3, 3, 31, 17, 32, 2},    {1, 4, 2, 33, 130, 20, 64},
    {2, 2, 2, 65, 66, 8, 24}, {1, 2, 1, 150, 260, 64, 16}, {1, 1, 1, 129, 600, 5, 6},
    {1, 8, 4, 34, 800, 8, 5},
};

inline Options options_number(std::size_t i) {
  return {.dropout = i % 2 ? 0.3 : 0.0, .sinks = i % 3 == 1, .lse = i % 5 != 2};
}

}  // namespace fovea::test::sdpa
