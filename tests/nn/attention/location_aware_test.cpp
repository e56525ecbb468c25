// Location-aware attention: the features of the last weights by naive loops, and its state.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/nn/attention/location_aware.h>
#include <fovea/tests/nn/attention/family.h>
#include <fovea/tests/nn/attention/naive.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

constexpr std::int64_t B = 2, T = 3, S = 6, filters = 2, radius = 1;

struct Fixture {
  Fixture() {
    to_f64(attention);
    query = randn({B, T, 3}, rng, DType::f64);
    key = randn({B, S, 4}, rng, DType::f64);
    value = randn({B, S, 2}, rng, DType::f64);
  }
  Rng rng{7};
  LocationAwareAttention attention{
      {.query_dim = 3, .key_dim = 4, .attention_dim = 5, .filters = filters, .radius = radius},
      rng};
  Tensor query, key, value;
  Mask mask = Mask::lengths({S, 4});
};

// f_sj = sum_i F_ji a_{s + i - r}
Rows features_by_hand(const Rows& F, const Row& a) {
  Rows f(a.size(), Row(F.size()));
  for (std::size_t s = 0; s < a.size(); ++s)
    for (std::size_t j = 0; j < F.size(); ++j)
      for (std::size_t i = 0; i < F[j].size(); ++i) {
        const std::int64_t at = static_cast<std::int64_t>(s + i) - radius;
        if (at >= 0 && at < static_cast<std::int64_t>(a.size()))
          f[s][j] += F[j][i] * a[static_cast<std::size_t>(at)];
      }
  return f;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "weights by naive loops, each step from the weights before it") {
  const Tensor weights = attention.forward_with_weights(query, key, value, mask).weights;
  for (std::int64_t b = 0; b < B; ++b) {
    Row last(S);
    for (std::size_t t = 0; t < T; ++t) {
      const Rows f = features_by_hand(rows_of(attention.location_conv), last);
      const Row q = times(rows_of(attention.query_proj.weight), rows_of(query, b)[t]);
      Row e;
      std::vector<bool> kept;
      for (std::size_t s = 0; s < S; ++s) {
        Row hidden = plus(q, times(rows_of(attention.key_proj.weight), rows_of(key, b)[s]));
        hidden = plus(hidden, attention.key_proj.bias.to_vector<double>());
        hidden = plus(hidden, times(rows_of(attention.location_proj.weight), f[s]));
        e.push_back(dot(attention.score.to_vector<double>(), tanh_of(hidden)));
        kept.push_back(b == 0 || s < 4);
      }
      last = softmax_over(e, kept);
      for (std::size_t s = 0; s < S; ++s)
        CHECK(rows_of(weights, b)[t][s] == doctest::Approx(last[s]).epsilon(1e-12));
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "steps of two hypotheses, reordered between them") {
  const AttentionMemory memory = attention.prepare(key, value, mask);
  std::vector<Tensor> state;
  for (const Tensor& x : attention.initial_state(memory))
    state.push_back(index_select(x, 0, from_data(std::vector<std::int64_t>{0, 0, 1, 1}, {4})));
  const auto both = [&](std::int64_t a, std::int64_t b) {
    return stack({select(query, 1, a), select(query, 1, b)}, 1);  // (B, K, Cq)
  };
  attention.attend(both(0, 1), memory, state);
  state[0] = index_select(state[0], 0, from_data(std::vector<std::int64_t>{1, 0, 3, 2}, {4}));
  const AttentionOutput seen = attention.attend(both(2, 2), memory, state);
  for (const auto& [k, before] : {std::pair{0, 1}, std::pair{1, 0}}) {
    std::vector<Tensor> alone = attention.initial_state(memory);
    attention.attend(narrow(query, 1, before, 1), memory, alone);
    const AttentionOutput one = attention.attend(narrow(query, 1, 2, 1), memory, alone);
    CHECK(max_difference(select(seen.weights, 1, k), select(one.weights, 1, 0)) <= 1e-13);
    CHECK(max_difference(select(seen.context, 1, k), select(one.context, 1, 0)) <= 1e-13);
  }
}

TEST_CASE_FIXTURE(Fixture, "names and shapes") {
  std::string listed;
  for (const auto& [name, x] : attention.parameters())
    listed += name + " " + x.shape().str() + "; ";
  CHECK(listed ==
        "query_proj.weight (5, 3); key_proj.weight (5, 4); key_proj.bias (5,); location_conv (2, "
        "3); location_proj.weight (5, 2); score (5,); ");
}

TEST_CASE_FIXTURE(Fixture, "gradients flow through the steps") {
  // The last output depends on the first query only through the state.
  const auto f = [&](const std::vector<Tensor>& x) {
    return narrow(attention(x[0], key, value, mask), 1, T - 1, 1);
  };
  const GradReport report = gradcheck(f, {query});
  CHECK_MESSAGE(report.ok, report.message);
  Tensor leaf = query.clone();
  leaf.set_requires_grad();
  f({leaf}).backward(randn({B, 1, 2}, rng, DType::f64));
  CHECK(max_difference(select(leaf.grad(), 1, 0), zeros({B, 3}, DType::f64)) > 1e-9);
}

TEST_CASE_FIXTURE(Fixture, "errors") {
  CHECK(message_of<ValueError>([&] {
          LocationAwareAttention(
              {.query_dim = 3, .key_dim = 3, .attention_dim = 3, .filters = 0, .radius = -1}, rng);
        }) == "LocationAwareAttention: filters = 0: must be from 1 to 1073741824");
  const AttentionMemory memory = attention.prepare(key, value, mask);
  std::vector<Tensor> state = attention.initial_state(memory);
  CHECK(message_of<StateError>([&] { attention.attend(query, memory, state); }) ==
        "LocationAwareAttention: state: must be the last weights, (6, 6)");
}
