// Properties of every mechanism: one table of mechanisms, one table of masks.
#include <fovea/core/diagnose.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/threads.h>
#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/tests/nn/attention/family.h>
#include <fovea/tests/support/compare.h>

#include <set>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

constexpr std::int64_t B = 3, T = 4, S = 6, C = 3;

struct MaskCase {
  const char* name;
  Mask mask;
  bool prefixes;    // keeps a prefix of the keys
  bool empty_rows;  // some query is fully masked
};

std::vector<MaskCase> masks() {
  Rng rng(3);
  std::vector<bool> table;
  for (std::int64_t i = 0; i < B * T * S; ++i) table.push_back(rng.chance(0.4));
  for (std::int64_t s = 0; s < S; ++s) table[static_cast<std::size_t>(T * S + s)] = false;
  const Mask causal = Mask::causal(Mask::Corner::bottom_right);
  const Tensor kept = from_data(table, {B, T, S});
  const auto ids = [](const std::vector<std::int64_t>& values) {
    return from_data(values, {static_cast<std::int64_t>(values.size())});
  };
  return {{"none", Mask::none(), true, false},
          {"documents", Mask::documents(ids({0, 1, 2, 1}), ids({1, 0, 0, 1, 1, 3})), false, true},
          {"lengths", Mask::lengths({6, 0, 2}), true, true},
          {"causal", causal, true, false},
          {"causal and lengths", causal & Mask::lengths({3, 6, 0}), true, true},
          {"prefix_lm", Mask::prefix_lm({2, 0, 6}, Mask::Corner::top_left), true, false},
          {"window", Mask::window(1, 1, Mask::Corner::top_left), false, false},
          {"table", Mask::keep(kept), false, true},
          {"dropped table", Mask::drop(kept), false, false}};
}

// Calls f for every mechanism with every mask that it supports.
template <class F>
void for_all(const F& f) {
  for (const Mechanism& mechanism : family())
    for (const MaskCase& m : masks()) {
      if (mechanism.needs_prefixes() && !m.prefixes) continue;
      CAPTURE(mechanism.label);
      CAPTURE(m.name);
      f(mechanism, m);
    }
}

struct Inputs {
  explicit Inputs(std::uint64_t seed = 5) {
    Rng rng(seed);
    query = randn({B, T, 4}, rng, DType::f64);
    key = randn({B, S, 4}, rng, DType::f64);
    value = randn({B, S, C}, rng, DType::f64);
  }
  Tensor query, key, value;
};

std::unique_ptr<Attention> make(const Mechanism& mechanism) {
  Rng rng(11);
  return mechanism.make(rng);
}

struct Seen {
  Tensor output, weights;  // (B, T, C), (B, T, S): of several heads the mean
};

Seen look(Attention& attention, const Inputs& x, const Mask& mask) {
  LastWeights observer(attention);
  const Tensor y = attention(x.query, x.key, x.value, mask);
  REQUIRE(observer.calls == 1);
  const auto* step = dynamic_cast<DecoderAttention*>(&attention);
  const Tensor mean_of_heads = mean(observer.last, 1);
  if (step)
    CHECK(max_difference(step->forward_with_weights(x.query, x.key, x.value, mask).weights,
                         mean_of_heads) == 0);
  return {y, mean_of_heads};
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

Tensor kept_of(const Mask& mask) {
  return broadcast_to(mask.to_tensor(B, T, S), {B, T, S}).contiguous();
}

}  // namespace

TEST_CASE("the output is the sum of the values with the reported weights") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const auto attention = make(mechanism);
    const Inputs x;
    const Seen seen = look(*attention, x, m.mask);
    CHECK(seen.output.shape() == Shape{B, T, C});
    CHECK(seen.weights.shape() == Shape{B, T, S});
    if (mechanism.mixes_values())
      CHECK(max_difference(seen.output, matmul(seen.weights, x.value)) <= 1e-12);
    CHECK_FALSE(seen.weights.requires_grad());
  });
}

TEST_CASE("weights are at least 0; rows sum to 1, or to 0 if all keys are masked") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const auto attention = make(mechanism);
    const Tensor weights = look(*attention, Inputs(), m.mask).weights;
    CHECK(min(weights).item<double>() >= 0);
    CHECK(largest(masked_fill(weights, kept_of(m.mask), 0)) == 0);  // dropped: exactly 0
    const Tensor any = max(kept_of(m.mask).to(DType::f64), -1), total = sum(weights, -1);
    CHECK(largest(masked_fill(total, gt(any, 0.0), 0)) == 0);
    if (mechanism.is("local-p"))  // what the Gaussian leaves
      CHECK(max(total).item<double>() <= 1 + 1e-12);
    else if (mechanism.is("local-m"))  // the window may contain no unmasked key
      CHECK(largest(total * (total - 1.0)) <= 1e-12);
    else
      CHECK(max_difference(total, any) <= 1e-12);
  });
}

TEST_CASE("observers do not change any bit") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const auto attention = make(mechanism);
    const Inputs x;
    const Tensor before = (*attention)(x.query, x.key, x.value, m.mask);
    CHECK(max_difference(look(*attention, x, m.mask).output, before) == 0);
  });
}

TEST_CASE("masked keys and values do not change any bit") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const auto attention = make(mechanism);
    const Inputs x;
    const Seen before = look(*attention, x, m.mask);
    for (std::int64_t s = 0; s < S; ++s) {  // another key and value, for those who do not keep it
      Inputs other;
      for (Tensor* changed : {&other.key, &other.value})
        select(*changed, 1, s).copy_from(100.0 * select(*changed, 1, s).clone() + 1.0);
      const Seen after = look(*attention, other, m.mask);
      Tensor keeps = select(kept_of(m.mask), 2, s);  // (B, T)
      if (mechanism.has_memory()) keeps = gt(cumsum(keeps.to(DType::f64), 1), 0.0);
      const Tensor blind = logical_not(unsqueeze(keeps, -1));
      CHECK(max_difference(masked_select(before.output, blind),
                           masked_select(after.output, blind)) == 0);
      CHECK(max_difference(masked_select(before.weights, blind),
                           masked_select(after.weights, blind)) == 0);
    }
  });
}

TEST_CASE("fully masked rows: every mask, f32 and f64, in training and eval") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const Tensor empty_rows = eq(sum(kept_of(m.mask).to(DType::f64), -1, true), 0.0);  // (B, T, 1)
    CHECK((sum(empty_rows).item<int>() > 0) == m.empty_rows);
    for (const DType dtype : {DType::f32, DType::f64})
      for (const bool training : {true, false}) {
        const auto attention = make(mechanism);
        cast(*attention, dtype);
        attention->train(training);
        Inputs x;
        for (Tensor* input : {&x.query, &x.key, &x.value})
          *input = input->to(dtype).set_requires_grad();
        const Seen seen = look(*attention, x, m.mask);
        Rng rng(2);
        seen.output.backward(randn(seen.output.shape(), rng, dtype));
        CHECK(largest(masked_select(seen.output, empty_rows)) == 0);
        CHECK(largest(masked_select(seen.weights, empty_rows)) == 0);
        if (!mechanism.has_memory())  // a query may still guide those after it
          CHECK(largest(masked_select(x.query.grad(), empty_rows)) == 0);
        for (Tensor* input : {&x.query, &x.key, &x.value})
          CHECK(std::isfinite(largest(input->grad())));
      }
  });
}

TEST_CASE("a fully masked row has gradient zero, and padding may hold NaN") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    for (const bool poisoned : {false, true}) {
      CAPTURE(poisoned);
      Inputs x;
      if (poisoned)
        for (Tensor* padded : {&x.key, &x.value}) {
          select(*padded, 0, 1).fill(std::nan(""));
          narrow(select(*padded, 0, 2), 0, 2, S - 2).fill(std::nan(""));
        }
      for (Tensor* input : {&x.query, &x.key, &x.value}) input->set_requires_grad();
      attention->zero_grad();
      const Tensor y = (*attention)(x.query, x.key, x.value, Mask::lengths({6, 0, 2}));
      Rng rng(1);
      y.backward(randn(y.shape(), rng, DType::f64));
      CHECK(largest(select(y, 0, 1)) == 0);
      for (Tensor* input : {&x.query, &x.key, &x.value}) {
        CHECK(largest(select(input->grad(), 0, 1)) == 0);
        CHECK(largest(select(input->grad(), 0, 0)) > 0);
      }
      for (Tensor* padded : {&x.key, &x.value})
        CHECK(largest(narrow(select(padded->grad(), 0, 2), 0, 2, S - 2)) == 0);
      for (const auto& parameter : attention->parameters()) {
        CAPTURE(parameter.first);
        REQUIRE(parameter.second.grad().defined());
        CHECK(std::isfinite(largest(parameter.second.grad())));
      }
    }
  }
}

TEST_CASE("a batch equals its rows one by one; padding has no effect") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    const Inputs x;
    const std::vector<std::int64_t> lengths{6, 1, 4};
    const Seen all = look(*attention, x, Mask::lengths(lengths));
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t n = lengths[static_cast<std::size_t>(b)];
      const auto row = [&](const Tensor& t) { return narrow(t, 0, b, 1); };
      const Tensor one = (*attention)(row(x.query), narrow(row(x.key), 1, 0, n),
                                      narrow(row(x.value), 1, 0, n), Mask::none());
      CHECK(max_difference(one, row(all.output)) <= 1e-12);
    }
  }
}

TEST_CASE("permuted keys and values: the same output, permuted weights") {
  const Tensor order = from_data(std::vector<std::int64_t>{3, 0, 5, 1, 4, 2}, {S});
  for (const Mechanism& mechanism : family()) {
    if (mechanism.has_places()) continue;
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    const Inputs x;
    Inputs other;
    for (Tensor* moved : {&other.key, &other.value}) *moved = index_select(*moved, 1, order);
    const Seen a = look(*attention, x, Mask::none()), b = look(*attention, other, Mask::none());
    CHECK(max_difference(a.output, b.output) <= 1e-12);
    CHECK(max_difference(index_select(a.weights, 2, order), b.weights) <= 1e-12);
  }
}

TEST_CASE("a later query does not change earlier results") {
  for_all([](const Mechanism& mechanism, const MaskCase& m) {
    const auto attention = make(mechanism);
    const Inputs x;
    Inputs other;
    select(other.query, 1, 2).fill(3);
    const Seen a = look(*attention, x, m.mask), b = look(*attention, other, m.mask);
    CHECK(max_difference(narrow(a.output, 1, 0, 2), narrow(b.output, 1, 0, 2)) == 0);
    if (!mechanism.has_memory())
      CHECK(max_difference(select(a.output, 1, 3), select(b.output, 1, 3)) == 0);
  });
}

TEST_CASE("gradients by finite differences: query, key, value and every parameter") {
  for (const Mechanism& mechanism : family()) {
    if (mechanism.is("hard")) continue;  // its gradient is an estimate: see hard_test
    for (const Mask& mask : {Mask::none(), Mask::lengths({3, 0})}) {
      CAPTURE(mechanism.label);
      Rng rng(21);
      const auto attention = mechanism.make(rng);
      std::vector<Tensor> inputs{randn({2, 3, 4}, rng, DType::f64),
                                 randn({2, 3, 4}, rng, DType::f64),
                                 randn({2, 3, C}, rng, DType::f64)};
      for (const auto& [name, w] : attention->parameters()) inputs.push_back(w.detach());
      const auto f = [&](const std::vector<Tensor>& x) {
        std::size_t next = 3;
        ReplaceParameters replace([&](const Tensor&) { return x[next++]; });
        attention->visit(replace);
        return (*attention)(x[0], x[1], x[2], mask);
      };
      const GradReport first = gradcheck(f, inputs);
      CHECK_MESSAGE(first.ok, first.message);
    }
  }
}

TEST_CASE("second derivatives") {
  for (const Mechanism& mechanism : family()) {
    if (mechanism.is("hard")) continue;
    CAPTURE(mechanism.label);
    Rng rng(22);
    const auto attention = mechanism.make(rng);
    const auto f = [&](const std::vector<Tensor>& x) {
      return (*attention)(x[0], x[1], x[2], Mask::lengths({2}));
    };
    const GradReport second =
        gradgradcheck(f, {randn({1, 2, 4}, rng, DType::f64), randn({1, 3, 4}, rng, DType::f64),
                          randn({1, 3, C}, rng, DType::f64)});
    CHECK_MESSAGE(second.ok, second.message);
  }
}

TEST_CASE("every parameter gets a gradient") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    CHECK(attention->parameters().empty() == (mechanism.is("dot") || mechanism.is("scaled-dot")));
    if (attention->parameters().empty()) continue;
    const Inputs x;
    const GradientAudit audit;
    sum(square((*attention)(x.query, x.key, x.value, Mask::none()))).backward();
    CHECK(audit.report(attention->parameters()) ==
          "every parameter got a finite, non-zero gradient\n");
  }
}

TEST_CASE("bitwise the same results for any number of threads") {
  const int before = num_threads();
  Rng rng(9);
  const Tensor q = randn({33, 5, 4}, rng, DType::f64), k = randn({33, 40, 4}, rng, DType::f64),
               v = randn({33, 40, C}, rng, DType::f64);
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    set_num_threads(1);
    const Tensor y = (*attention)(q, k, v, Mask::none());
    for (const int threads : {2, 5}) {
      set_num_threads(threads);
      CHECK(max_difference((*attention)(q, k, v, Mask::none()), y) == 0);
    }
  }
  set_num_threads(before);
}

TEST_CASE("no queries, no keys, no batch") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    const Inputs x;
    const auto call = [&](std::int64_t b, std::int64_t t, std::int64_t s) {
      return (*attention)(narrow(narrow(x.query, 0, 0, b), 1, 0, t),
                          narrow(narrow(x.key, 0, 0, b), 1, 0, s),
                          narrow(narrow(x.value, 0, 0, b), 1, 0, s), Mask::none());
    };
    CHECK(call(B, 0, S).shape() == Shape{B, 0, C});
    CHECK(call(0, T, S).shape() == Shape{0, T, C});
    const Tensor y = call(B, T, 0);
    CHECK(y.shape() == Shape{B, T, C});
    CHECK(largest(y) == 0);
  }
}

TEST_CASE("a mask under strict() with a fully masked query") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    const Inputs x;
    const auto call = [&] {
      (*attention)(x.query, x.key, x.value, Mask::lengths({6, 0, 2}).strict());
    };
    CHECK(message_of<ValueError>(call).find("batch row 1, head 0, query 0 of 4") !=
          std::string::npos);
  }
}

TEST_CASE("names") {
  CHECK(single_head_attention_names() ==
        std::vector<std::string>{"additive", "dot", "general", "concat", "scaled-dot", "local-m",
                                 "local-p", "location", "hard", "linear"});
  Rng rng(1);
  const AttentionFactoryOptions sizes{.query_dim = 2, .key_dim = 2, .attention_dim = 2};
  CHECK(message_of<ValueError>([&] { make_decoder_attention("linear", sizes, rng); }) ==
        "attention: 'linear': must be one of additive, dot, general, concat, scaled-dot, "
        "local-m, local-p, location, hard, multihead");
  CHECK(message_of<ValueError>([&] { make_attention("Dot", sizes, rng); }) ==
        "attention: 'Dot': must be one of additive, dot, general, concat, scaled-dot, local-m, "
        "local-p, location, hard, multihead, linear");
  AttentionFactoryOptions sparse = sizes;
  sparse.weights = AttentionNormalizer::sparsemax;
  for (const char* name : {"hard", "linear"})
    CHECK(message_of<ValueError>([&] { make_attention(name, sparse, rng); }) ==
          "attention: '" + std::string(name) +
              "' with weights 'sparsemax': must be softmax for this mechanism");
  AttentionFactoryOptions covered = sizes;
  covered.coverage = true;
  for (const char* name : {"dot", "hard", "multihead", "linear"})
    CHECK(message_of<ValueError>([&] { make_attention(name, covered, rng); }) ==
          "attention: '" + std::string(name) + "' with coverage: must be 'additive'");
}

TEST_CASE("each head reports its weights; forward_with_weights() returns their mean") {
  Rng rng(4);
  const Mechanism multihead{"multihead", "multihead"};
  const auto attention = multihead.make(rng);
  LastWeights observer(*attention);
  const Inputs x;
  const Mask mask = Mask::lengths({6, 0, 2});
  const Tensor returned = dynamic_cast<DecoderAttention&>(*attention)
                              .forward_with_weights(x.query, x.key, x.value, mask)
                              .weights;
  CHECK(observer.last.shape() == Shape{B, 2, T, S});
  CHECK(max_difference(select(observer.last, 1, 0), select(observer.last, 1, 1)) > 1e-3);
  CHECK(max_difference(mean(observer.last, 1), returned) == 0);
}

TEST_CASE("a state of another mechanism is an error") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    const auto* steps = dynamic_cast<const DecoderAttention*>(attention.get());
    if (!steps) continue;
    const Inputs x;
    const AttentionMemory memory = steps->prepare(x.key, x.value, Mask::none());
    std::vector<Tensor> state{zeros({7, 2})};
    const std::string message =
        message_of<StateError>([&] { steps->attend(narrow(x.query, 1, 0, 1), memory, state); });
    if (steps->initial_state(memory).empty())
      CHECK(message ==
            "attention: a state of 1 tensors: must be empty, this mechanism has no state");
  }
}

TEST_CASE("a width below 1 is an error in all mechanisms that have one") {
  Rng rng(1);
  const auto message = [&](const std::string& name, const AttentionFactoryOptions& sizes) {
    return message_of<ValueError>([&] { make_attention(name, sizes, rng); });
  };
  for (const auto& [name, module] :
       {std::pair{"additive", "AdditiveAttention"}, std::pair{"concat", "AttentionScore"},
        std::pair{"location", "LocationAwareAttention"},
        std::pair{"multihead", "MultiheadDecoderAttention"}})
    CHECK(message(name, {.query_dim = 2, .key_dim = 2, .attention_dim = 0}) ==
          std::string(module) + ": attention_dim = 0: must be from 1 to 1073741824");
  CHECK(message("linear", {.query_dim = 2, .key_dim = 2, .attention_dim = -1}) ==
        "LinearAttention: feature_dim = -1: must be from 0 to 1073741824");
}

TEST_CASE("shape errors name the sizes and the module") {
  for (const Mechanism& mechanism : family()) {
    CAPTURE(mechanism.label);
    const auto attention = make(mechanism);
    attention->name_tree("decoder.attention");
    const Inputs x;
    const std::string message = message_of<ShapeError>(
        [&] { (*attention)(x.query, x.key, narrow(x.value, 1, 0, 2), Mask::none()); });
    CAPTURE(message);
    CHECK(message.find(": must be (B, T, ") != std::string::npos);
    CHECK(message.ends_with(", in decoder.attention"));
  }
}
