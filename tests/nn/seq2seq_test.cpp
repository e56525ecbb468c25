// The encoder-decoder: a batch is its sentences one by one, and decoding step by step is teacher
// forcing.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/tests/support/compare.h>

#include <set>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;

namespace {

using Lengths = std::vector<std::int64_t>;

Tensor ids(const std::vector<std::int64_t>& values, const Shape& shape) {
  return from_data(values, shape);
}

struct Example {
  Tensor source = ids({4, 5, 6, 7, 5, 4, 0, 0, 6, 7, 4, 0}, {3, 4});  // padded with 0
  Lengths source_lengths{4, 2, 3};
  Tensor inputs = ids({2, 4, 5, 2, 6, 0, 2, 0, 0}, {3, 3});  // <bos> is 2
  Lengths target_lengths{3, 2, 1};
};

Seq2Seq make(bool attention, Rng& rng) {
  return Seq2Seq({.source_vocab = 8,
                  .target_vocab = 7,
                  .embed_dim = 5,
                  .hidden_size = 6,
                  .attention = attention},
                 rng);
}

Tensor row(const Tensor& x, std::int64_t b) { return slice(x, 0, b, b + 1); }

}  // namespace

TEST_CASE("the names of the parameters") {
  Rng rng(1);
  std::set<std::string> with, without;
  Seq2Seq a = make(true, rng), b = make(false, rng);
  for (const auto& [name, value] : a.parameters()) with.insert(name);
  for (const auto& [name, value] : b.parameters()) without.insert(name);
  for (const char* name :
       {"source_embedding.weight", "target_embedding.weight", "encoder.weight_hh_l0_reverse",
        "initial.weight", "attention.score", "attention.query_proj.weight",
        "attention.key_proj.bias", "cell.weight_ih", "readout.bias", "output.weight"})
    CHECK(with.contains(name));
  CHECK(with.size() == 2 + 8 + 2 + 4 + 4 + 2 + 2);
  CHECK(without.size() == with.size() - 4);
}

TEST_CASE("encoding a ragged batch is encoding its sentences one by one") {
  Rng rng(1);
  const Example e;
  for (const bool attention : {true, false}) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory all = model.encode(e.source, e.source_lengths);
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t S = e.source_lengths[static_cast<std::size_t>(b)];
      const Seq2SeqMemory one = model.encode(slice(row(e.source, b), 1, 0, S), {S});
      CHECK(max_difference(one.initial, row(all.initial, b)) <= 1e-6);
      CHECK(all.values.defined() == attention);
      if (!attention) continue;
      CHECK(max_difference(one.values, slice(row(all.values, b), 1, 0, S)) <= 1e-6);
      CHECK(max_difference(one.keys, slice(row(all.keys, b), 1, 0, S)) <= 1e-6);
    }
  }
}

TEST_CASE("decoding step by step gives the logits of teacher forcing") {
  Rng rng(1);
  const Example e;
  for (const bool attention : {true, false}) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    const Tensor forced = pad(Ragged{model.decode(memory, e.inputs, e.target_lengths),
                                     RaggedIndex(e.target_lengths)});  // (B, T, V)
    Tensor state = memory.initial;
    for (std::int64_t t = 0; t < 3; ++t) {
      const Tensor logits = model.step(memory, select(e.inputs, 1, t), state);
      for (std::int64_t b = 0; b < 3; ++b)
        if (t < e.target_lengths[static_cast<std::size_t>(b)])
          CHECK(max_difference(row(logits, b), select(row(forced, b), 1, t)) <= 1e-5);
    }
  }
}

TEST_CASE("several hypotheses a sentence are decoded as each alone") {
  Rng rng(1);
  const Example e;
  for (const bool attention : {true, false}) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    const Tensor states = randn({3, 2, 6}, rng);  // K = 2
    Tensor both = reshape(states, {6, 6});
    const Tensor logits = model.step(memory, ids({1, 2, 3, 4, 5, 6}, {6}), both);  // (6, V)
    for (std::int64_t k = 0; k < 2; ++k) {
      Tensor state = select(states, 1, k).contiguous();
      const Tensor alone = model.step(memory, ids({1 + k, 3 + k, 5 + k}, {3}), state);
      CHECK(max_difference(alone, select(reshape(logits, {3, 2, 7}), 1, k)) <= 1e-5);
      CHECK(max_difference(state, select(reshape(both, {3, 2, 6}), 1, k)) <= 1e-6);
    }
  }
}

TEST_CASE("the weights of a step lie on the real source words") {
  Rng rng(1);
  const Example e;
  const Seq2Seq model = make(true, rng);
  const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
  Tensor state = memory.initial, weights;
  model.step(memory, ids({2, 2, 2}, {3}), state, &weights);
  CHECK(weights.shape() == Shape{3, 1, 4});
  CHECK(max_difference(sum(weights, -1), ones({3, 1})) <= 1e-6);
  CHECK(max_difference(slice(select(weights, 0, 1), 1, 2, 4), zeros({1, 2})) == 0);
}

TEST_CASE("every parameter gets a gradient") {
  Rng rng(1);
  const Example e;
  const Tensor targets = ids({4, 5, 3, 6, 3, 3}, {6});
  for (const bool attention : {true, false}) {
    Seq2Seq model = make(attention, rng);
    const GradientAudit audit;
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    cross_entropy(model.decode(memory, e.inputs, e.target_lengths), targets).backward();
    CHECK(audit.report(model.parameters()) == "every parameter got a finite, non-zero gradient\n");
  }
}

TEST_CASE("dropout works in training only") {
  Rng rng(1);
  const Example e;
  Seq2Seq model(
      {.source_vocab = 8, .target_vocab = 7, .embed_dim = 5, .hidden_size = 6, .dropout = 0.5},
      rng);
  const auto run = [&] {
    return model.decode(model.encode(e.source, e.source_lengths), e.inputs, e.target_lengths);
  };
  CHECK(max_difference(run(), run()) > 0);
  model.eval();
  CHECK(max_difference(run(), run()) == 0);
}

TEST_CASE("a batch of no sentences has no logits") {
  Rng rng(1);
  for (const bool attention : {true, false}) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(ids({}, {0, 4}), {});
    CHECK(model.decode(memory, ids({}, {0, 3}), {}).shape() == Shape{0, 7});
    Tensor state = memory.initial;
    CHECK(model.step(memory, ids({}, {0}), state).shape() == Shape{0, 7});
    CHECK(state.shape() == Shape{0, 6});
  }
}
