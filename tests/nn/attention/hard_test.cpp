// Hard attention: one value in the forward, the gradient of the soft weights in the backward.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/nn/attention/hard.h>
#include <fovea/tests/nn/attention/family.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

struct Fixture {
  HardAttention make(bool sample) {
    HardAttention attention(
        {.score = Score::general, .query_dim = 3, .key_dim = 4, .sample = sample}, rng);
    to_f64(attention);
    return attention;
  }
  Tensor soft(const HardAttention& attention) const {
    return masked_softmax(attention.scores(query, attention.project_keys(key)), mask);
  }
  Rng rng{5};
  Tensor query = randn({2, 3, 3}, rng, DType::f64), key = randn({2, 5, 4}, rng, DType::f64),
         value = randn({2, 5, 2}, rng, DType::f64);
  Mask mask = Mask::lengths({5, 2});
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "the best key gets weight 1, and a row with all keys masked weights 0") {
  const HardAttention attention = make(false);
  mask = Mask::lengths({4, 0});
  const AttentionOutput seen = attention.forward_with_weights(query, key, value, mask);
  const Tensor best = argmax(soft(attention), -1);
  for (std::int64_t t = 0; t < 3; ++t) {
    const std::int64_t s = best.data<std::int64_t>()[t];
    CHECK(max_difference(select(select(seen.context, 0, 0), 0, t),
                         select(select(value, 0, 0), 0, s)) == 0);
    CHECK(select(select(seen.weights, 0, 0), 0, t).data<double>()[s] == 1);
  }
  CHECK(max_difference(select(seen.context, 0, 1), zeros({3, 2}, DType::f64)) == 0);
  CHECK(max_difference(select(seen.weights, 0, 1), zeros({3, 5}, DType::f64)) == 0);
}

TEST_CASE_FIXTURE(Fixture, "the backward is that of the soft weights at the given values") {
  const HardAttention attention = make(false);
  Tensor q = query.clone(), v = value.clone();
  q.set_requires_grad();
  v.set_requires_grad();
  const Tensor dy = randn({2, 3, 2}, rng, DType::f64);
  const AttentionOutput seen = attention.forward_with_weights(q, key, v, mask);
  seen.context.backward(dy);
  const Tensor found = q.grad(), of_values = v.grad();
  // d context / d weights = values for any weights: the same cotangent for the soft weights.
  Tensor p = query.clone();
  p.set_requires_grad();
  masked_softmax(attention.scores(p, attention.project_keys(key)), mask)
      .backward(matmul(dy, transpose(value, 1, 2)));
  CHECK(max_difference(found, p.grad()) <= 1e-14);
  CHECK(max_difference(of_values, matmul(transpose(seen.weights, 1, 2), dy)) <= 1e-14);
}

TEST_CASE_FIXTURE(Fixture,
                  "in training keys are sampled by weight; in eval() the best key is selected") {
  HardAttention attention = make(true);
  const Tensor p = soft(attention);
  constexpr int draws = 4000;
  Tensor counts = zeros({2, 3, 5}, DType::f64);
  for (int i = 0; i < draws; ++i) {
    const Tensor weights = attention.forward_with_weights(query, key, value, mask).weights.detach();
    CHECK(max_difference(sum(weights, -1), ones({2, 3}, DType::f64)) == 0);
    counts = counts + weights;
  }
  // Five standard deviations of a proportion.
  CHECK(max_difference(counts / draws, p) <= 5 * 0.5 / std::sqrt(static_cast<double>(draws)));
  attention.eval();
  const Tensor weights = attention.forward_with_weights(query, key, value, mask).weights;
  CHECK(max_difference(max(p, -1), sum(weights * p, -1)) == 0);  // the best have the largest weight
}

TEST_CASE_FIXTURE(Fixture, "a NaN query gives NaN weights") {
  for (const bool sample : {false, true}) {
    const HardAttention attention = make(sample);
    query.fill(std::nan(""));
    const Tensor y = attention(query, key, value, Mask::lengths({5, 0}));
    for (const double number : select(y, 0, 0).to_vector<double>()) CHECK(std::isnan(number));
    CHECK(max_difference(select(y, 0, 1), zeros({3, 2}, DType::f64)) == 0);
  }
}

TEST_CASE_FIXTURE(Fixture, "samples come from the given generator") {
  const HardAttention attention = make(true);
  const RngState before = rng.state();
  const Tensor a = attention(query, key, value, mask), b = attention(query, key, value, mask);
  rng.set_state(before);
  CHECK(max_difference(attention(query, key, value, mask), a) == 0);
  CHECK(max_difference(attention(query, key, value, mask), b) == 0);
}
