// The poolings of sentiment against their formulas, and the parsing of model names.
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/nn/recurrent.h>
#include <fovea/tests/support/compare.h>

#include "pooling.h"
#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

constexpr std::int64_t C = 6;
constexpr PoolBy everything[] = {PoolBy::last, PoolBy::mean, PoolBy::max, PoolBy::additive,
                                 PoolBy::dot};

// All values are below 0, so that zeros of padding would be the maximum.
Ragged negative_states() {
  Rng rng(3);
  const RaggedIndex index({4, 0, 1, 3});
  return {neg(abs(randn({index.total(), C}, rng))), index};
}

// The formula, for one sentence's states (T, C), T > 0.
Tensor expected(Pooling& pool, const Tensor& x) {
  const std::int64_t T = x.dim(0);
  const auto mixed = [&](const Tensor& scores) {  // (T)
    return sum(x * unsqueeze(softmax(scores), 1), 0);
  };
  switch (pool.by()) {
    case PoolBy::last:
      return select(x, 0, T - 1);
    case PoolBy::mean:
      return mean(x, 0);
    case PoolBy::max:
      return max(x, 0);
    case PoolBy::additive:
      return mixed(sum(tanh((*pool.key_proj)(x)) * pool.score, 1));
    case PoolBy::dot:
      return mixed(sum(x * pool.query, 1));
  }
  return {};
}

double total_of(const Tensor& x) { return sum(abs(x)).item<double>(); }

}  // namespace

TEST_CASE("each pooling equals its formula for each sentence, and is zero for empty sentences") {
  const Ragged x = negative_states();
  Rng rng(4);
  for (const PoolBy by : everything) {
    CAPTURE(static_cast<int>(by));
    Pooling pool(C, by, false, rng);
    const Tensor pooled = pool(x);
    REQUIRE(pooled.shape() == Shape{4, C});
    for (std::int64_t b = 0; b < 4; ++b) {
      const Tensor states = narrow(x.values, 0, x.index.offset(b), x.index.length(b));
      const Tensor want = x.index.length(b) > 0 ? expected(pool, states) : zeros({C});
      CHECK(max_difference(select(pooled, 0, b), want) <= 1e-6);
    }
    CHECK(total_of(pool({zeros({0, C}), RaggedIndex({0, 0})})) == 0);
  }
}

TEST_CASE("all used words and parameters get gradients, without NaN") {
  Rng rng(5);
  for (const PoolBy by : everything) {
    CAPTURE(static_cast<int>(by));
    Pooling pool(C, by, true, rng);
    Ragged x = negative_states();
    x.values.set_requires_grad();
    sum(square(pool(x))).backward();
    CHECK(total_of(x.values.grad()) > 0);  // false for NaN
    for (const auto& parameter : pool.parameters()) {
      CAPTURE(parameter.first);
      REQUIRE(parameter.second.grad().defined());
      CHECK(total_of(parameter.second.grad()) > 0);
    }
  }
}

TEST_CASE("last pooling equals the final states of both directions") {
  Rng rng(6);
  for (const bool bidirectional : {false, true}) {
    const std::int64_t D = bidirectional ? 2 : 1, H = C / D;
    const nn::LSTM net({.input_size = 5, .hidden_size = H, .bidirectional = bidirectional}, rng);
    const RaggedIndex index({4, 0, 1, 3});
    const auto out = net({randn({index.total(), 5}, rng), index});
    const Tensor ends = reshape(transpose(out.last, 0, 1), {4, C});  // (D, B, H) -> (B, D H)
    CHECK(max_difference(Pooling(C, PoolBy::last, bidirectional, rng)(out.states), ends) == 0);
  }
}

TEST_CASE("weights are returned: sums of 1, zeros at padding") {
  const Ragged x = negative_states();
  Rng rng(7);
  for (const PoolBy by : {PoolBy::additive, PoolBy::dot}) {
    Tensor weights;
    Pooling(C, by, false, rng)(x, &weights);
    REQUIRE(weights.shape() == Shape{4, 4});
    CHECK(max_difference(sum(weights, 1), from_data<float>({1, 0, 1, 1}, {4})) <= 1e-6);
    CHECK(total_of(narrow(select(weights, 0, 3), 0, 3, 1)) == 0);
  }
  Tensor none;
  Pooling(C, PoolBy::max, false, rng)(x, &none);
  CHECK(!none.defined());
}

TEST_CASE("parsing of model names") {
  for (const char* plain : {"bow", "rnn", "lstm", "selfattention", "transformer"}) {
    CHECK(parts_of(plain).head == Head::none);
    CHECK(!parts_of(plain).bidirectional);
  }
  const ModelParts parts = parts_of("bigru+selfattention");
  CHECK(parts.base == Base::gru);
  CHECK(parts.bidirectional);
  CHECK(parts.head == Head::selfattention);
  CHECK(parts_of("birnn").recurrent());
  CHECK(parts_of("lstm+dot").head == Head::dot);
  CHECK(default_pooling(parts_of("bilstm")) == "last");
  CHECK(default_pooling(parts) == "attention");
  CHECK(default_pooling(parts_of("selfattention")) == "attention");
  CHECK(default_pooling(parts_of("transformer")) == "mean");
  for (const char* wrong :
       {"", "bi", "bibow", "bow+dot", "bitransformer", "lstm+", "lstm+max", "lstm+dot+dot", "LSTM"})
    CHECK(message_of<ValueError>([&] {
            parts_of(wrong);
          }).starts_with("model: '" + std::string(wrong) + "': must be bow, "));
}

TEST_CASE("invalid poolings are an error") {
  CHECK(pool_by("gru+dot", "attention") == PoolBy::dot);
  CHECK(pool_by("gru", "attention") == PoolBy::additive);
  CHECK(pool_by("gru+selfattention", "last") == PoolBy::last);
  CHECK(pool_by("bow", "max") == PoolBy::max);
  const auto refusal = [](const char* model, const char* pooling) {
    return message_of<ValueError>([&] { pool_by(model, pooling); });
  };
  CHECK(refusal("lstm+dot", "mean") == "pooling: mean: must be attention for lstm+dot");
  CHECK(refusal("lstm+additive", "last") == "pooling: last: must be attention for lstm+additive");
  CHECK(refusal("bow", "last") ==
        "pooling: last: must be mean, max or attention for bow, which has no last state");
  CHECK(refusal("gru", "median") == "pooling: 'median': must be last, mean, max or attention");
}
