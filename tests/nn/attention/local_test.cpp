// Luong's local attention: the window and the Gaussian by naive loops, and its state.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/local.h>
#include <fovea/tests/nn/attention/family.h>
#include <fovea/tests/nn/attention/naive.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

constexpr std::int64_t D = 2, B = 2, T = 4, S = 9;

struct Fixture {
  explicit Fixture(bool predictive, Score score = Score::dot)
      : attention({.predictive = predictive,
                   .window = D,
                   .score = score,
                   .query_dim = 3,
                   .key_dim = 3,
                   .attention_dim = 5},
                  rng) {
    to_f64(attention);
    query = randn({B, T, 3}, rng, DType::f64);
    key = randn({B, S, 3}, rng, DType::f64);
    value = randn({B, S, 2}, rng, DType::f64);
  }
  Rng rng{7};
  LocalAttention attention;
  Tensor query, key, value;
  std::vector<std::int64_t> lengths{S, 5};
};

// The softmax over the keys before `length` in the window around p, times a factor.
template <class F>
Row local_weights(const Row& q, const Rows& k, double p, std::int64_t length, const F& factor) {
  Row e;
  std::vector<bool> kept;
  for (std::size_t s = 0; s < k.size(); ++s) {
    const auto place = static_cast<double>(s);
    e.push_back(dot(q, k[s]));
    kept.push_back(static_cast<std::int64_t>(s) < length &&
                   std::abs(place - p) <= static_cast<double>(D));
  }
  Row a = softmax_over(e, kept);
  for (std::size_t s = 0; s < a.size(); ++s) a[s] *= factor(static_cast<double>(s) - p);
  return a;
}

}  // namespace

TEST_CASE("local-m: a window at the step index") {
  Fixture f(false);
  const AttentionOutput seen =
      f.attention.forward_with_weights(f.query, f.key, f.value, Mask::lengths(f.lengths));
  for (std::int64_t b = 0; b < B; ++b) {
    const Rows found = rows_of(seen.weights, b);
    for (std::size_t t = 0; t < T; ++t) {
      const Row want =
          local_weights(rows_of(f.query, b)[t], rows_of(f.key, b), static_cast<double>(t),
                        f.lengths[static_cast<std::size_t>(b)], [](double) { return 1.0; });
      for (std::size_t s = 0; s < S; ++s)
        CHECK(found[t][s] == doctest::Approx(want[s]).epsilon(1e-12));
    }
  }
}

TEST_CASE("local-p: the position predicted by the query, and the Gaussian around it") {
  Fixture f(true);
  const AttentionOutput seen =
      f.attention.forward_with_weights(f.query, f.key, f.value, Mask::lengths(f.lengths));
  for (std::int64_t b = 0; b < B; ++b) {
    const Rows found = rows_of(seen.weights, b);
    const std::int64_t length = f.lengths[static_cast<std::size_t>(b)];
    for (std::size_t t = 0; t < T; ++t) {
      const Row q = rows_of(f.query, b)[t];
      const Row hidden = tanh_of(times(rows_of(f.attention.position_proj->weight), q));
      const double z = dot(f.attention.position.to_vector<double>(), hidden);
      const double p = static_cast<double>(length) / (1 + std::exp(-z));
      const double sigma = static_cast<double>(D) / 2;
      const Row want = local_weights(q, rows_of(f.key, b), p, length, [&](double distance) {
        return std::exp(-distance * distance / (2 * sigma * sigma));
      });
      for (std::size_t s = 0; s < S; ++s)
        CHECK(found[t][s] == doctest::Approx(want[s]).epsilon(1e-12));
    }
  }
}

TEST_CASE("local-p: the predicted position is trained") {
  Fixture f(true);
  sum(square(f.attention(f.query, f.key, f.value, Mask::none()))).backward();
  CHECK(max(abs(f.attention.position.grad())).item<double>() > 0);
  CHECK(max(abs(f.attention.position_proj->weight.grad())).item<double>() > 0);
}

TEST_CASE(
    "local-m: single steps of several hypotheses; far after the end context and weights are 0") {
  Fixture f(false, Score::general);
  const Tensor all = f.attention(f.query, f.key, f.value, Mask::none());
  const AttentionMemory memory = f.attention.prepare(f.key, f.value, Mask::none());
  std::vector<Tensor> state{zeros({2 * B}, DType::i64)};  // K = 2
  for (std::int64_t t = 0; t < T; ++t) {
    const Tensor q = select(f.query, 1, t);
    const AttentionOutput seen = f.attention.attend(stack({q, q}, 1), memory, state);
    for (std::int64_t k = 0; k < 2; ++k)
      CHECK(max_difference(select(seen.context, 1, k), select(all, 1, t)) <= 1e-13);
  }
  CHECK(state[0].to_vector<std::int64_t>() == std::vector<std::int64_t>(2 * B, T));
  state[0].fill(S + D);
  const AttentionOutput late = f.attention.attend(narrow(f.query, 1, 0, 2), memory, state);
  CHECK(max_difference(late.weights, zeros({B, 2, S}, DType::f64)) == 0);
  CHECK(max_difference(late.context, zeros({B, 2, 2}, DType::f64)) == 0);
}

TEST_CASE("any score, with its parameters without a prefix") {
  Rng rng(1);
  std::string names;
  LocalAttention attention(
      {.score = Score::concat, .query_dim = 3, .key_dim = 4, .attention_dim = 5}, rng);
  for (const auto& [name, x] : attention.parameters()) names += name + " " + x.shape().str() + "; ";
  CHECK(names == "weight (5, 7); score (5,); position_proj.weight (5, 3); position (5,); ");
  for (const Score score : {Score::dot, Score::scaled_dot, Score::general, Score::concat}) {
    Fixture f(true, score);
    const auto run = [&](const std::vector<Tensor>& x) {
      return f.attention(x[0], x[1], x[2], Mask::none());
    };
    const GradReport report = gradcheck(run, {f.query, f.key, f.value});
    CHECK_MESSAGE(report.ok, report.message);
  }
}

TEST_CASE("errors") {
  Rng rng(1);
  CHECK(message_of<ValueError>([&] {
          LocalAttention({.window = 0, .query_dim = 3, .key_dim = 3}, rng);
        }) == "LocalAttention: window = 0: must be at least 1");
  CHECK(message_of<ValueError>([&] { LocalAttention({.query_dim = 3, .key_dim = 3}, rng); }) ==
        "LocalAttention: attention_dim = 0: must be from 1 to 1073741824");
  Fixture f(false);
  CHECK(message_of<StateError>([&] {
          f.attention.attend(f.query, f.attention.prepare(f.key, f.value, Mask::none()));
        }) == "LocalAttention: state: must be the step index of 8 hypotheses");
}
