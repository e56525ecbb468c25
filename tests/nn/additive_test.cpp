// AdditiveAttention as a module.
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/additive.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

struct Fixture {
  Rng rng{4};
  AdditiveAttention attention{{.query_dim = 3, .key_dim = 4, .attention_dim = 5}, rng};
  Tensor query = randn({2, 3, 3}, rng), key = randn({2, 6, 4}, rng), value = randn({2, 6, 2}, rng);
  Mask mask = Mask::lengths({6, 2});
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "names and shapes") {
  std::string listed;
  for (const auto& [name, x] : attention.parameters())
    listed += name + " " + x.shape().str() + "\n";
  CHECK(listed ==
        "query_proj.weight (5, 3)\nkey_proj.weight (5, 4)\nkey_proj.bias (5,)\nscore (5,)\n");
}

TEST_CASE_FIXTURE(Fixture, "projection and score follow the formula") {
  const AttentionOutput y = attention.forward_with_weights(query, key, value, mask);
  const AttentionOutput expected =
      additive_attention_reference(linear(query, attention.query_proj.weight),
                                   linear(key, attention.key_proj.weight, attention.key_proj.bias),
                                   attention.score, value, mask);
  CHECK(y.context.shape() == Shape{2, 3, 2});
  CHECK(y.weights.shape() == Shape{2, 3, 6});
  CHECK(max_difference(y.context, expected.context) <= 1e-6);
  CHECK(max_difference(y.weights, expected.weights) <= 1e-6);
}

TEST_CASE_FIXTURE(Fixture, "operator() returns the context of forward_with_weights()") {
  CHECK(max_difference(attention(query, key, value, mask),
                       attention.forward_with_weights(query, key, value, mask).context) == 0);
}

TEST_CASE_FIXTURE(Fixture, "keys projected once give the same result") {
  const AttentionOutput a = attention.forward_with_weights(query, key, value, mask);
  const AttentionOutput b = attention.attend(query, attention.prepare(key, value, mask));
  CHECK(max_difference(a.context, b.context) == 0);
  CHECK(max_difference(a.weights, b.weights) == 0);
}

TEST_CASE_FIXTURE(Fixture, "every parameter gets a gradient, through either output") {
  const AttentionOutput y = attention.forward_with_weights(query, key, value, mask);
  SUBCASE("context") { sum(square(y.context)).backward(); }
  SUBCASE("weights") { sum(square(y.weights)).backward(); }
  const GradientAudit audit;
  CHECK(audit.findings(attention.parameters()).empty());
}

TEST_CASE_FIXTURE(Fixture, "errors name the module") {
  attention.name_tree("decoder.attention");
  CHECK(message_of<ShapeError>([&] {
          attention(query, key, zeros({2, 5, 2}), mask);
        }) ==
        "attention: query (2, 3, 3), key (2, 6, 4), value (2, 5, 2): must be (B, T, Cq), "
        "(B, S, Ck), (B, S, C), in decoder.attention");
  CHECK(message_of<ShapeError>([&] {
          attention(query, zeros({2, 6, 3}), value, mask);
        }).ends_with(", in decoder.attention.key_proj"));
}
