// Multi-head attention for decoders against MultiheadAttention with the same parameters.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/attention/multihead_decoder.h>
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
    query = randn({B, T, 4}, rng, DType::f64);
    key = randn({B, S, 3}, rng, DType::f64);
    value = randn({B, S, 4}, rng, DType::f64);
  }
  Rng rng{3};
  MultiheadDecoderAttention attention{
      {.query_dim = 4, .key_dim = 3, .value_dim = 4, .attention_dim = 6, .num_heads = 3}, rng};
  Tensor query, key, value;
  Mask mask = Mask::lengths({S, 2});
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "context and weights are MultiheadAttention's") {
  MultiheadAttention reference(
      {.embed_dim = 4, .num_heads = 3, .kdim = 3, .head_dim = 2, .bias = false}, rng);
  to_f64(reference);
  reference.q_proj_weight.copy_from(attention.query_proj.weight.detach());
  reference.k_proj_weight.copy_from(attention.key_proj.weight.detach());
  reference.v_proj_weight.copy_from(attention.value_proj.weight.detach());
  reference.out_proj.weight.copy_from(attention.out_proj.weight.detach());
  const AttentionOutput seen = attention.forward_with_weights(query, key, value, mask);
  CHECK(max_difference(seen.context, reference(query, key, value, mask)) <= 1e-12);
  const Tensor weights =
      reference.weights(query, reference.project(key, value), mask);  // (B, H, T, S)
  CHECK(max_difference(seen.weights, mean(weights, 1)) <= 1e-12);
}

TEST_CASE_FIXTURE(Fixture, "steps with keys and values that are prepared once") {
  const AttentionMemory memory = attention.prepare(key, value, mask);
  CHECK(memory.values.shape() == Shape{B, S, 6});
  const AttentionOutput all = attention.forward_with_weights(query, key, value, mask);
  const AttentionOutput steps = attention.attend(query, memory);  // K = T
  CHECK(max_difference(all.context, steps.context) <= 1e-12);
  for (std::int64_t t = 0; t < T; ++t) {
    const AttentionOutput one = attention.attend(narrow(query, 1, t, 1), memory);
    CHECK(max_difference(one.context, narrow(all.context, 1, t, 1)) <= 1e-12);
    CHECK(max_difference(one.weights, narrow(all.weights, 1, t, 1)) <= 1e-12);
  }
}

TEST_CASE_FIXTURE(Fixture, "the mean weights have gradients") {
  const GradReport report = gradcheck(
      [&](const std::vector<Tensor>& x) {
        return attention.forward_with_weights(x[0], x[1], value, mask).weights;
      },
      {query, key});
  CHECK_MESSAGE(report.ok, report.message);
}

TEST_CASE_FIXTURE(Fixture, "names and shapes") {
  std::string listed;
  for (const auto& [name, x] : attention.parameters())
    listed += name + " " + x.shape().str() + "; ";
  CHECK(listed ==
        "query_proj.weight (6, 4); key_proj.weight (6, 3); value_proj.weight (6, 4); "
        "out_proj.weight (4, 6); ");
}

TEST_CASE("sizes that do not fit") {
  Rng rng(1);
  const auto message = [&](const MultiheadDecoderAttentionOptions& o) {
    return message_of<ValueError>([&] { MultiheadDecoderAttention(o, rng); });
  };
  CHECK(message({.query_dim = 2, .key_dim = 2, .value_dim = 0, .attention_dim = 4}) ==
        "MultiheadDecoderAttention: value_dim = 0: must be from 1 to 1073741824");
  const auto with_heads = [&](std::int64_t heads) {
    return message(
        {.query_dim = 2, .key_dim = 2, .value_dim = 2, .attention_dim = 4, .num_heads = heads});
  };
  CHECK(with_heads(0) == "MultiheadDecoderAttention: num_heads = 0: must be from 1 to 1073741824");
  CHECK(with_heads(3) ==
        "MultiheadDecoderAttention: attention_dim = 4: must be a multiple of num_heads = 3");
}
