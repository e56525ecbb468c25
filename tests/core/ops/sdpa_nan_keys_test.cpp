// A NaN or infinity in a key or value affects only the queries that attend it, in forward and
// backward.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/score_mod_lambda.h>

#include "sdpa_support.h"

using namespace fovea;
using namespace fovea::test;
using namespace fovea::test::sdpa;

namespace {

constexpr std::int64_t kPoisoned = 37;  // the key

struct Setup {
  Sizes n;
  Mask mask;
  std::vector<bool> affected;  // (T): attends the NaN key

  Setup(const Sizes& sizes, const Mask& m) : n(sizes), mask(m) {
    const Tensor kept = mask.to_tensor({n.B, n.H, n.T, n.S});
    for (std::int64_t t = 0; t < n.T; ++t)
      affected.push_back(select(select(kept, 0, 0), 0, 0)
                             .to_vector<bool>()[static_cast<std::size_t>(t * n.S + kPoisoned)]);
  }

  // 1 for the queries that do not attend the key.   (T, 1)
  Tensor others(DType dtype) const {
    std::vector<double> values;
    for (const bool a : affected) values.push_back(a ? 0 : 1);
    return from_data(values, {n.T, 1}).to(dtype);
  }
};

Mask documents(std::int64_t T, std::int64_t S) {
  std::vector<std::int64_t> queries, keys;
  for (std::int64_t t = 0; t < T; ++t) queries.push_back(t % 3);
  for (std::int64_t s = 0; s < S; ++s) keys.push_back(s % 3);
  return Mask::documents(from_data(queries, {T}), from_data(keys, {S}));
}

std::vector<Setup> setups() {
  std::vector<Setup> all;
  for (const std::int64_t T : {5, 70, 150}) {
    const Sizes n{1, 2, 1, T, 150, 16, 8};
    const auto corner = Mask::Corner::bottom_right;
    std::vector<bool> kept(static_cast<std::size_t>(T * n.S), true);
    for (std::int64_t t = 0; t < T; ++t)  // the key is masked for every other query
      kept[static_cast<std::size_t>(t * n.S + kPoisoned)] = t % 2 == 0;
    all.emplace_back(n, Mask::keep(from_data(kept, {T, n.S})));
    all.emplace_back(n, documents(T, n.S));
    all.emplace_back(n, Mask::window(40, 40, Mask::Corner::top_left));
    all.emplace_back(n, Mask::causal(corner) & Mask::keep(from_data(kept, {T, n.S})));
    if (T == 150) all.emplace_back(n, Mask::causal());
  }
  return all;
}

Problem poisoned(const Problem& clean, std::size_t input, double number) {
  Problem p = clean.to(clean.dy.dtype());
  select(p.inputs[input].detach(), 2, kPoisoned).fill(number);
  return p;
}

// Rows of queries (axis 2) that are not affected.
Tensor of_others(const Setup& s, const Tensor& x) {
  return where(s.others(x.dtype()) > 0.0, x, 0.0);
}

ScoreMod capped_with_bias() {
  const Tensor bias = full({1, 1, 1, 1}, 0.25, DType::f64).set_requires_grad();
  return ScoreMod::soft_cap(30).then(ScoreMod::bias(bias));
}

}  // namespace

TEST_CASE("sdpa: a NaN in a key or value has no effect on queries that do not attend it") {
  const double nan = std::nan("");
  for (const Setup& s : setups()) {
    CAPTURE(s.n.T);
    const Problem clean64 = random_problem(s.n);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Problem clean = clean64.to(dtype);
      const double bound = dtype == DType::f64 ? 1e-12 : 1e-5;
      for (const std::size_t input : {1, 2})
        for (const double number : {nan, infinity, -infinity}) {
          CAPTURE(input);
          CAPTURE(number);
          const Problem p = poisoned(clean, input, number);
          for (const bool by_definition : {false, true}) {
            CAPTURE(by_definition);
            const auto run = [&](const Problem& x) {
              return by_definition ? results(x, s.mask, {}, attention_reference) : fused(x, s.mask);
            };
            const auto found = run(p), expected = run(clean);
            CHECK(max_difference(of_others(s, found[0]), of_others(s, expected[0])) <= bound);
            CHECK(max_difference(of_others(s, found[3]), of_others(s, expected[3])) <= bound);
          }
        }
    }
  }
}

TEST_CASE("sdpa: a query that attends a NaN is NaN") {
  for (const Setup& s : setups()) {
    const Problem p = poisoned(random_problem(s.n), 1, std::nan(""));
    const auto y = fused(p, s.mask)[3].to_vector<double>();
    for (std::int64_t t = 0; t < s.n.T; ++t)
      CHECK(std::isnan(y[static_cast<std::size_t>(t * s.n.E)]) ==
            s.affected[static_cast<std::size_t>(t)]);
  }
}

// The loss uses the other queries only: those affected would contribute 0 times NaN.
TEST_CASE("sdpa: a loss of the other queries has correct gradients for all inputs") {
  for (const Setup& s : setups())
    for (const std::size_t input : {1, 2})
      for (const bool changed : {false, true}) {
        CAPTURE(s.n.T);
        CAPTURE(input);
        CAPTURE(changed);
        Problem clean = random_problem(s.n);
        clean.dy = of_others(s, clean.dy);
        Options o{.lse = false};
        if (changed) o.score_mod = capped_with_bias();
        const Problem p = poisoned(clean, input, std::nan(""));
        const auto found = fused(p, s.mask, o), expected = fused(clean, s.mask, o);
        for (const std::size_t i : {0, 1, 2}) CHECK(max_difference(found[i], expected[i]) <= 1e-12);
      }
}

TEST_CASE("sdpa: a score_mod's captured tensor gets no NaN from masked pairs") {
  const Setup s = setups()[0];
  for (const std::int64_t T : {5, 70}) {
    const Sizes n{1, 2, 1, T, 150, 16, 8};
    Problem clean = random_problem(n);
    std::vector<bool> kept(150, true);
    kept[kPoisoned] = false;
    const Mask mask = Mask::keep(from_data(kept, {1, 150})) & Mask::none();
    const auto gradient = [&](const Problem& p) {
      const Tensor gain = full({1, 1, 1}, 1.5, DType::f64).set_requires_grad();
      AttentionOptions options;
      options.score_mod = score_mod(
          [](auto score, const ScorePlace&, auto read) { return score * tanh(score * read(0, 0)); },
          {gain}, Mask::Corner::bottom_right);
      const Tensor y =
          scaled_dot_product_attention(p.inputs[0], p.inputs[1], p.inputs[2], mask, options);
      return grad({&y, 1}, {&gain, 1}, {&p.dy, 1})[0];
    };
    const Tensor expected = gradient(clean);
    for (const std::size_t input : {1, 2})
      CHECK(max_difference(gradient(poisoned(clean, input, std::nan(""))), expected) <= 1e-11);
  }
}

TEST_CASE("sdpa: the weights of a query that attends a NaN are 0 at its masked keys") {
  const Setup s = setups()[0];
  const Problem p = poisoned(random_problem(s.n), 1, std::nan(""));
  const AttentionOptions options;
  const Tensor weights = attention_weights(p.inputs[0], p.inputs[1], s.mask, options, 0, s.n.T);
  const Tensor kept = s.mask.to_tensor({s.n.B, s.n.H, s.n.T, s.n.S});
  const Tensor dropped = where(kept, 0.0, weights);
  CHECK(max_difference(dropped, zeros(dropped.shape(), dropped.dtype())) == 0);
  const Tensor lse =
      scaled_dot_product_attention_with_lse(p.inputs[0], p.inputs[1], p.inputs[2], s.mask)
          .logsumexp;
  const Tensor mean = attention_head_mean(p.inputs[0], p.inputs[1], s.mask, options, lse);
  const Tensor of_mean = where(select(kept, 1, 0), 0.0, mean);
  CHECK(max_difference(of_mean, zeros(of_mean.shape(), of_mean.dtype())) == 0);
}
