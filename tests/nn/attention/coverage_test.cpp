// Additive attention with coverage: its weights by naive loops, and its state.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/nn/attention/coverage.h>
#include <fovea/tests/nn/attention/naive.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

constexpr std::int64_t B = 2, T = 3, S = 5;

struct Fixture {
  Fixture() {
    to_f64(attention);
    query = randn({B, T, 3}, rng, DType::f64);
    key = randn({B, S, 4}, rng, DType::f64);
    value = randn({B, S, 2}, rng, DType::f64);
  }
  Rng rng{7};
  CoverageAttention attention{{.query_dim = 3, .key_dim = 4, .attention_dim = 6}, rng};
  Tensor query, key, value;
  Mask mask = Mask::lengths({S, 3});
};

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "weights by naive loops, each step from the sum of the weights before it") {
  const Tensor weights = attention.forward_with_weights(query, key, value, mask).weights;
  for (std::int64_t b = 0; b < B; ++b) {
    Row seen(S);
    for (std::size_t t = 0; t < T; ++t) {
      const Row q = times(rows_of(attention.query_proj.weight), rows_of(query, b)[t]);
      Row e;
      std::vector<bool> kept;
      for (std::size_t s = 0; s < S; ++s) {
        Row hidden = plus(q, times(rows_of(attention.key_proj.weight), rows_of(key, b)[s]));
        hidden = plus(hidden, attention.key_proj.bias.to_vector<double>());
        for (std::size_t i = 0; i < hidden.size(); ++i)
          hidden[i] += seen[s] * attention.coverage.to_vector<double>()[i];
        e.push_back(dot(attention.score.to_vector<double>(), tanh_of(hidden)));
        kept.push_back(b == 0 || s < 3);
      }
      const Row now = softmax_over(e, kept);
      for (std::size_t s = 0; s < S; ++s)
        CHECK(rows_of(weights, b)[t][s] == doctest::Approx(now[s]).epsilon(1e-12));
      seen = plus(seen, now);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "steps of two hypotheses, reordered between them") {
  const AttentionMemory memory = attention.prepare(key, value, mask);
  const auto rows = [](const std::vector<std::int64_t>& order) { return from_data(order, {4}); };
  std::vector<Tensor> state{
      index_select(attention.initial_state(memory)[0], 0, rows({0, 0, 1, 1}))};
  const auto both = [&](std::int64_t a, std::int64_t b) {
    return stack({select(query, 1, a), select(query, 1, b)}, 1);  // (B, K, Cq)
  };
  attention.attend(both(0, 1), memory, state);
  state[0] = index_select(state[0], 0, rows({1, 0, 3, 2}));
  const AttentionOutput seen = attention.attend(both(2, 2), memory, state);
  for (const auto& [k, before] : {std::pair{0, 1}, std::pair{1, 0}}) {
    std::vector<Tensor> alone = attention.initial_state(memory);
    attention.attend(narrow(query, 1, before, 1), memory, alone);
    const AttentionOutput one = attention.attend(narrow(query, 1, 2, 1), memory, alone);
    CHECK(max_difference(select(seen.weights, 1, k), select(one.weights, 1, 0)) <= 1e-13);
    CHECK(max_difference(select(seen.context, 1, k), select(one.context, 1, 0)) <= 1e-13);
  }
}

TEST_CASE_FIXTURE(Fixture, "without the feature it is additive attention") {
  attention.coverage.fill(0);
  AdditiveAttention plain({.query_dim = 3, .key_dim = 4, .attention_dim = 6}, rng);
  to_f64(plain);
  for (const auto& [name, x] : plain.parameters())
    for (const auto& [other, y] : attention.parameters())
      if (name == other) Tensor(x).copy_from(y.detach());
  CHECK(max_difference(attention(query, key, value, mask), plain(query, key, value, mask)) <=
        1e-13);
}

TEST_CASE_FIXTURE(Fixture, "gradients flow through the steps") {
  // The last output depends on the first query only through the state.
  Tensor leaf = query.clone();
  leaf.set_requires_grad();
  narrow(attention(leaf, key, value, mask), 1, T - 1, 1)
      .backward(randn({B, 1, 2}, rng, DType::f64));
  CHECK(max_difference(select(leaf.grad(), 1, 0), zeros({B, 3}, DType::f64)) > 1e-9);
}

TEST_CASE_FIXTURE(Fixture, "names, and a state that does not fit") {
  std::string listed;
  for (const auto& [name, x] : attention.parameters())
    listed += name + " " + x.shape().str() + "; ";
  CHECK(listed ==
        "query_proj.weight (6, 3); key_proj.weight (6, 4); key_proj.bias (6,); score (6,); "
        "coverage (6,); ");
  const AttentionMemory memory = attention.prepare(key, value, mask);
  std::vector<Tensor> state = attention.initial_state(memory);
  CHECK(message_of<StateError>([&] { attention.attend(query, memory, state); }) ==
        "CoverageAttention: state: must be the sum of past weights, (6, 5)");
}
