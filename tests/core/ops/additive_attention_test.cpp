// The fused additive attention against its reference in plain ops, under every kind of mask.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

struct Sizes {
  std::int64_t B, T, S, A, C;
};

struct Problem {
  std::vector<Tensor> inputs;   // queries, keys, v, values: leaves
  Tensor d_context, d_weights;  // the cotangents

  Problem to(DType dtype) const {
    Problem p{{}, d_context.to(dtype), d_weights.to(dtype)};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    return p;
  }
};

Problem random_problem(const Sizes& n) {
  Rng rng(7);
  const auto draw = [&](const Shape& shape) { return randn(shape, rng, DType::f64); };
  Problem p{{}, draw({n.B, n.T, n.C}), draw({n.B, n.T, n.S})};
  for (const Shape& shape :
       {Shape{n.B, n.T, n.A}, Shape{n.B, n.S, n.A}, Shape{n.A}, Shape{n.B, n.S, n.C}})
    p.inputs.push_back(draw(shape).set_requires_grad());
  return p;
}

// The four gradients, the context and the weights.
template <class Attention>
std::vector<Tensor> results(const Problem& p, const Mask& mask, Attention attention) {
  const auto& x = p.inputs;
  const AttentionOutput y = attention(x[0], x[1], x[2], x[3], mask);
  const Tensor outputs[] = {y.context, y.weights}, seeds[] = {p.d_context, p.d_weights};
  std::vector<Tensor> all = grad(outputs, x, seeds);
  all.push_back(y.context);
  all.push_back(y.weights);
  return all;
}

std::vector<Tensor> fused(const Problem& p, const Mask& mask) {
  return results(p, mask, additive_attention);
}

Mask random_table(const Sizes& n) {
  Rng rng(3);
  std::vector<bool> kept;
  for (std::int64_t i = 0; i < n.B * n.T * n.S; ++i) kept.push_back(rng.chance(0.4));
  return Mask::keep(from_data(kept, {n.B, n.T, n.S}));
}

std::vector<Mask> masks_for(const Sizes& n) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < n.B; ++b) lengths.push_back((b * 3) % (n.S + 1));  // including 0
  const Mask causal = Mask::causal(Mask::Corner::bottom_right);
  return {Mask::none(), Mask::lengths(lengths), causal, causal & Mask::lengths(lengths),
          random_table(n)};
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

}  // namespace

TEST_CASE("additive_attention: the fused attention equals the reference, values and gradients") {
  for (const Sizes n : {Sizes{1, 1, 1, 1, 1},
                        {2, 3, 5, 1, 3},
                        {3, 1, 7, 17, 1},
                        {2, 4, 33, 64, 17},
                        {40, 1, 9, 3, 5},
                        {1, 5, 2, 16, 8}}) {
    const Problem p = random_problem(n);
    for (const Mask& mask : masks_for(n)) {
      CAPTURE(n.S);
      CAPTURE(mask.describe(n.B, n.T, n.S));
      const auto found = fused(p, mask), expected = results(p, mask, additive_attention_reference);
      const auto in_f32 = fused(p.to(DType::f32), mask);
      // A score sums A products of size |v|; dv sums over B T S rows.
      const double eps = 1.2e-7, terms = static_cast<double>(8 + 4 * n.A + n.S + n.B * n.T + n.C);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(i);
        const double scale = 1 + largest(expected[i]);
        CHECK(max_difference(found[i], expected[i]) <= 1e-12 * scale);
        CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= terms * eps * scale);
      }
    }
  }
}

TEST_CASE("additive_attention: bitwise equal for any number of threads") {
  const int before = num_threads();
  const Sizes n{37, 3, 29, 17, 19};
  const Problem p = random_problem(n).to(DType::f32);
  for (const Mask& mask : masks_for(n)) {
    set_num_threads(1);
    const auto expected = fused(p, mask);
    for (const int threads : {2, 3, 4, 8}) {
      CAPTURE(threads);
      set_num_threads(threads);
      const auto found = fused(p, mask);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
  }
  set_num_threads(before);
}

TEST_CASE("additive_attention: weights sum to one, or are all zero") {
  const Sizes n{2, 3, 4, 5, 2};
  const Problem p = random_problem(n);
  const Tensor weights = fused(p, Mask::lengths({3, 0}))[5];
  const Tensor sums = sum(weights, -1);
  CHECK(max_difference(select(sums, 0, 0), ones({3}, DType::f64)) <= 1e-14);
  CHECK(largest(select(sums, 0, 1)) == 0);
  CHECK(largest(slice(weights, 2, 3, 4)) == 0);
}

TEST_CASE("additive_attention: a fully masked row has zero output, weights and gradients") {
  const Problem p = random_problem({2, 3, 4, 5, 2});
  const auto all = fused(p, Mask::lengths({4, 0}));
  for (const std::size_t i : {0, 1, 3, 4, 5}) {  // all except v's gradient, which has no batch axis
    CHECK(largest(select(all[i], 0, 1)) == 0);
    CHECK(largest(select(all[i], 0, 0)) > 0);
  }
}

TEST_CASE("additive_attention: masked values have no effect, not even NaN") {
  Problem p = random_problem({1, 2, 3, 4, 2});
  for (const std::size_t i : {1, 3}) select(p.inputs[i].detach(), 1, 2).fill(std::nan(""));
  select(p.d_weights, 2, 2).fill(std::nan(""));
  for (const DType dtype : {DType::f64, DType::f32})
    for (const Tensor& x : fused(p.to(dtype), Mask::lengths({2}))) CHECK(std::isfinite(largest(x)));
}

TEST_CASE("additive_attention: attended values have an effect, NaN too") {
  const Problem p = random_problem({1, 2, 3, 4, 2});
  select(p.inputs[1].detach(), 1, 1).fill(std::nan(""));
  CHECK_FALSE(std::isfinite(largest(fused(p, Mask::lengths({2}))[4])));
}

TEST_CASE("additive_attention: a padded batch equals its sentences one by one") {
  const std::vector<std::int64_t> lengths{4, 1, 6};
  const Problem p = random_problem({3, 2, 6, 5, 3});
  const auto& x = p.inputs;
  const AttentionOutput all = additive_attention(x[0], x[1], x[2], x[3], Mask::lengths(lengths));
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t S = lengths[static_cast<std::size_t>(b)];
    const auto row = [&](const Tensor& t) { return slice(t, 0, b, b + 1); };
    const AttentionOutput one = additive_attention(row(x[0]), slice(row(x[1]), 1, 0, S), x[2],
                                                   slice(row(x[3]), 1, 0, S), Mask::none());
    CHECK(max_difference(one.context, row(all.context)) <= 1e-14);
    CHECK(max_difference(one.weights, slice(row(all.weights), 2, 0, S)) <= 1e-14);
  }
}

TEST_CASE("additive_attention: one output only, and operands with gaps") {
  const Problem p = random_problem({2, 3, 4, 5, 2});
  const Mask mask = Mask::lengths({4, 2});
  const auto gaps = [](const Tensor& t) {
    return transpose(transpose(t, 1, 2).contiguous(), 1, 2);
  };
  for (const bool use_context : {true, false}) {
    const auto of = [&](const AttentionOutput& y) {
      return grad({use_context ? &y.context : &y.weights, 1}, {p.inputs.data(), 3},
                  {use_context ? &p.d_context : &p.d_weights, 1});
    };
    const auto& x = p.inputs;
    const auto found = of(additive_attention(gaps(x[0]), gaps(x[1]), x[2], gaps(x[3]), mask));
    const auto expected = of(additive_attention_reference(x[0], x[1], x[2], x[3], mask));
    for (std::size_t i = 0; i < 3; ++i) CHECK(max_difference(found[i], expected[i]) <= 1e-12);
  }
}

TEST_CASE("additive_attention: no queries, no keys, no batch") {
  for (const Sizes n : {Sizes{2, 0, 3, 4, 5}, {2, 3, 0, 4, 5}, {0, 2, 3, 4, 5}}) {
    const auto all = fused(random_problem(n), Mask::none());
    CHECK(all[4].shape() == Shape{n.B, n.T, n.C});
    CHECK(largest(all[2]) == 0);
    CHECK(largest(all[4]) == 0);
  }
}

TEST_CASE("additive_attention: errors") {
  const Tensor q = zeros({2, 1, 3}), k = zeros({2, 4, 3}), v = zeros({3}), x = zeros({2, 4, 5});
  const auto call = [](const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
    return [=] { additive_attention(a, b, c, d, Mask::none()); };
  };
  CHECK(message_of<ShapeError>(call(q, k, zeros({4}), x)) ==
        "additive_attention: queries (2, 1, 3), keys (2, 4, 3), v (4,), values (2, 4, 5): must be "
        "(B, T, A), (B, S, A), (A), (B, S, C)");
  CHECK_THROWS_AS(call(zeros({1, 1, 3}), k, v, x)(), ShapeError);
  CHECK_THROWS_AS(call(q, k, v, zeros({2, 3, 5}))(), ShapeError);
  CHECK_THROWS_AS(call(zeros({2, 3}), k, v, x)(), ShapeError);
  CHECK(message_of<DTypeError>(call(q, k, v, x.to(DType::f64))) ==
        "additive_attention: queries f32, keys f32, v f32, values f64: dtypes must be equal");
  CHECK_THROWS_AS(additive_attention(q, k, v, x, Mask::lengths({5, 1})), ValueError);
}
