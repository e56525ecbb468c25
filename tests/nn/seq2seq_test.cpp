// The encoder-decoder: a batch equals its sentences one by one, and decoding step by step equals
// teacher forcing.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/decode.h>
#include <fovea/nn/init.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/tests/support/compare.h>

#include <set>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

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

// "multihead", or "multihead fed": with input feeding; "covered" is additive with coverage.
Seq2Seq make(const std::string& kind, Rng& rng) {
  const std::string attention = kind.substr(0, kind.find(" fed"));
  return Seq2Seq({.source_vocab = 8,
                  .target_vocab = 7,
                  .embed_dim = 5,
                  .hidden_size = 6,
                  .attention = attention == "covered" ? "additive" : attention,
                  .heads = 2,
                  .coverage = attention == "covered",
                  .input_feeding = attention != kind},
                 rng);
}

std::vector<std::string> kinds() {
  std::vector<std::string> all = attention_names();
  all.insert(all.end(), {"covered", "none fed", "additive fed", "covered fed", "location fed"});
  return all;
}

bool attends(const std::string& kind) { return !kind.starts_with("none"); }

Tensor row(const Tensor& x, std::int64_t b) { return slice(x, 0, b, b + 1); }

}  // namespace

TEST_CASE("the names of the parameters") {
  Rng rng(1);
  std::set<std::string> with, without;
  Seq2Seq a = make("additive", rng), b = make("none", rng);
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

TEST_CASE("encoding a ragged batch equals encoding its sentences one by one") {
  Rng rng(1);
  const Example e;
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory all = model.encode(e.source, e.source_lengths);
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t S = e.source_lengths[static_cast<std::size_t>(b)];
      const Seq2SeqMemory one = model.encode(slice(row(e.source, b), 1, 0, S), {S});
      CHECK(max_difference(one.initial, row(all.initial, b)) <= 1e-6);
      CHECK(all.values.defined() == attends(attention));
      if (!attends(attention)) continue;
      CHECK(max_difference(one.values, slice(row(all.values, b), 1, 0, S)) <= 1e-6);
      CHECK(max_difference(one.keys, slice(row(all.keys, b), 1, 0, S)) <= 1e-6);
    }
  }
}

TEST_CASE("decoding step by step gives the logits of teacher forcing") {
  Rng rng(1);
  const Example e;
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    const Tensor forced = pad(Ragged{model.decode(memory, e.inputs, e.target_lengths),
                                     RaggedIndex(e.target_lengths)});  // (B, T, V)
    std::vector<Tensor> state = model.initial_state(memory);
    for (std::int64_t t = 0; t < 3; ++t) {
      const Tensor logits = model.step(memory, select(e.inputs, 1, t), state);
      for (std::int64_t b = 0; b < 3; ++b)
        if (t < e.target_lengths[static_cast<std::size_t>(b)])
          CHECK(max_difference(row(logits, b), select(row(forced, b), 1, t)) <= 1e-5);
    }
  }
}

TEST_CASE("several hypotheses per sentence are decoded as each alone") {
  Rng rng(1);
  const Example e;
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    // K = 2: the first axis of the state is the hypotheses, sentence by sentence.
    const Tensor twice = ids({0, 0, 1, 1, 2, 2}, {6});
    std::vector<Tensor> both;
    for (const Tensor& x : model.initial_state(memory)) both.push_back(index_select(x, 0, twice));
    std::vector<std::vector<Tensor>> alone(2, model.initial_state(memory));
    for (std::int64_t t = 0; t < 3; ++t) {
      const Tensor logits = model.step(memory, ids({1, 2 + t, 3, 4, 5, 6 - t}, {6}), both);
      for (std::int64_t k = 0; k < 2; ++k) {
        std::vector<Tensor>& state = alone[static_cast<std::size_t>(k)];
        const Tensor tokens = k == 0 ? ids({1, 3, 5}, {3}) : ids({2 + t, 4, 6 - t}, {3});
        const Tensor one = model.step(memory, tokens, state);
        CHECK(max_difference(one, select(reshape(logits, {3, 2, 7}), 1, k)) <= 1e-5);
        CHECK(state.size() == both.size());
        for (std::size_t i = 0; i < state.size(); ++i)
          CHECK(max_difference(index_select(state[i], 0, ids({0, 1, 2}, {3})),
                               index_select(both[i], 0, ids({k, 2 + k, 4 + k}, {3}))) <= 1e-6);
      }
    }
  }
}

TEST_CASE("beam search reorders the whole state") {
  const Example e;
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    Rng rng(3);
    Seq2Seq model = make(attention, rng);
    model.output.weight.copy_from(4.0 * model.output.weight.detach());  // clear preferences
    const NoGrad guard;
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    const auto found =
        beam_search([&](const Tensor& last,
                        std::vector<Tensor>& state) { return model.step(memory, last, state); },
                    model.initial_state(memory), 3, {.beam = 4, .max_length = 6, .n_best = 4});
    for (std::size_t b = 0; b < 3; ++b)
      for (const Hypothesis& h : found[b]) {  // its score equals that of decoding it alone
        const auto row_of = static_cast<std::int64_t>(b);
        const std::int64_t S = e.source_lengths[b];
        const Seq2SeqMemory one = model.encode(slice(row(e.source, row_of), 1, 0, S), {S});
        std::vector<Tensor> state = model.initial_state(one);
        std::vector<std::int64_t> said = h.tokens;
        said.push_back(3);  // <eos>
        std::int64_t last = 2;
        double log_prob = 0;
        for (const std::int64_t token : said) {
          const Tensor logits = model.step(one, ids({last}, {1}), state);
          log_prob += log_softmax(logits).to_vector<double>()[static_cast<std::size_t>(token)];
          last = token;
        }
        CHECK(h.log_prob == doctest::Approx(log_prob).epsilon(1e-4));
      }
  }
}

TEST_CASE("the weights of a step are on source words, not on padding") {
  Rng rng(1);
  const Example e;
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    std::vector<Tensor> state = model.initial_state(memory);
    Tensor weights;
    model.step(memory, ids({2, 2, 2}, {3}), state, &weights);
    CHECK(weights.defined() == attends(attention));
    if (!weights.defined()) continue;
    CHECK(weights.shape() == Shape{3, 1, 4});
    if (attention != "local-p") CHECK(max_difference(sum(weights, -1), ones({3, 1})) <= 1e-6);
    CHECK(max_difference(slice(select(weights, 0, 1), 1, 2, 4), zeros({1, 2})) == 0);
  }
}

TEST_CASE("observers do not change any bit, and receive every step of decode()") {
  struct Counter : AttentionObserver {
    void on_attention(const Attention&, const AttentionCall& call) override {
      calls += 1;
      shapes &= call.B == 3 && call.H == heads && call.T == 1 && call.S == 4 &&
                call.rows(0, 1).shape() == Shape{3, heads, 1, 4};
    }
    std::int64_t heads = 1;
    int calls = 0;
    bool shapes = true;
  };
  const Example e;
  for (const std::string& attention : kinds()) {
    if (!attends(attention)) continue;
    CAPTURE(attention);
    Rng rng(1);
    const Seq2Seq model = make(attention, rng);
    const auto run = [&] {
      return model.decode(model.encode(e.source, e.source_lengths), e.inputs, e.target_lengths);
    };
    const Tensor before = run();
    Counter counter;
    counter.heads = attention == "multihead" ? 2 : 1;
    model.attention->watch(counter);
    CHECK(max_difference(run(), before) == 0);
    CHECK(counter.calls == 3);
    CHECK(counter.shapes);
    model.attention->unwatch(counter);
    run();
    CHECK(counter.calls == 3);
  }
}

TEST_CASE("recomputing the encoder's gates does not change any bit") {
  const Example example;
  std::vector<NamedTensors> parameters;
  for (const bool recompute : {false, true}) {
    Rng rng(1);
    Seq2Seq net({.source_vocab = 8,
                 .target_vocab = 7,
                 .embed_dim = 5,
                 .hidden_size = 6,
                 .recompute = recompute},
                rng);
    const auto memory = net.encode(example.source, example.source_lengths);
    sum(square(net.decode(memory, example.inputs, example.target_lengths))).backward();
    parameters.push_back(net.parameters());
  }
  for (std::size_t i = 0; i < parameters[0].size(); ++i) {
    INFO(parameters[0][i].first);
    CHECK(parameters[0][i].second.grad().to_vector<float>() ==
          parameters[1][i].second.grad().to_vector<float>());
  }
}

TEST_CASE("sparse weights in the decoder") {
  Rng rng(1);
  const Example e;
  for (const std::string& weights : normalizer_names()) {
    CAPTURE(weights);
    const Seq2Seq model({.source_vocab = 8,
                         .target_vocab = 7,
                         .embed_dim = 5,
                         .hidden_size = 6,
                         .attention = "general",
                         .weights = weights},
                        rng);
    init::uniform(model.attention->parameters()[0].second, -20, 20, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    std::vector<Tensor> state = model.initial_state(memory);
    Tensor seen;
    model.step(memory, ids({2, 2, 2}, {3}), state, &seen);
    const Tensor zero_weights = sum(eq(select(seen, 0, 0), 0.0));  // of a sentence without padding
    CHECK((zero_weights.item<int>() > 0) == (weights != "softmax"));
  }
}

TEST_CASE("an unknown attention is an error") {
  Rng rng(1);
  CHECK(message_of<ValueError>([&] { make("additiv", rng); }) ==
        "Seq2Seq: attention 'additiv': must be one of none, additive, dot, general, concat, "
        "scaled-dot, local-m, local-p, location, hard, multihead");
  CHECK(message_of<ValueError>([&] {
          Seq2Seq({.source_vocab = 8, .target_vocab = 7, .weights = "max"}, rng);
        }) == "weights: 'max': must be one of softmax, sparsemax, entmax15");
  CHECK(message_of<ValueError>([&] {
          Seq2Seq(
              {.source_vocab = 8, .target_vocab = 7, .attention = "none", .weights = "entmax15"},
              rng);
        }) == "Seq2Seq: weights 'entmax15' with attention 'none': must be softmax");
  CHECK(message_of<ValueError>([&] {
          Seq2Seq({.source_vocab = 8, .target_vocab = 7, .attention = "dot", .coverage = true},
                  rng);
        }) == "attention: 'dot' with coverage: must be 'additive'");
  CHECK(message_of<ValueError>([&] {
          Seq2Seq({.source_vocab = 8,
                   .target_vocab = 7,
                   .hidden_size = 6,
                   .attention = "multihead",
                   .heads = 4},
                  rng);
        }) == "MultiheadDecoderAttention: attention_dim = 6: must be a multiple of num_heads = 4");
}

TEST_CASE("decode() returns the weights of the steps") {
  Rng rng(1);
  const Example e;
  for (const std::string& kind : kinds()) {
    CAPTURE(kind);
    const Seq2Seq model = make(kind, rng);
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    Tensor all;
    const Tensor with = model.decode(memory, e.inputs, e.target_lengths, &all);
    CHECK(max_difference(with, model.decode(memory, e.inputs, e.target_lengths)) == 0);
    CHECK(all.defined() == attends(kind));
    if (!attends(kind)) continue;
    CHECK(all.shape() == Shape{3, 3, 4});
    CHECK(all.requires_grad());
    std::vector<Tensor> state = model.initial_state(memory);
    for (std::int64_t t = 0; t < 3; ++t) {
      Tensor one;
      model.step(memory, select(e.inputs, 1, t), state, &one);
      for (std::int64_t b = 0; b < 3; ++b)
        if (t < e.target_lengths[static_cast<std::size_t>(b)])
          CHECK(max_difference(row(select(all, 1, t), b), select(row(one, b), 1, 0)) <= 1e-5);
    }
  }
}

TEST_CASE("input feeding: the output vector of a step changes the next step, not its own") {
  Rng rng(1);
  const Example e;
  const Seq2Seq model = make("additive fed", rng);
  CHECK(model.cell.weight_ih.shape() == Shape{18, 5 + 12 + 6});
  const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
  std::vector<Tensor> state = model.initial_state(memory);
  REQUIRE(state.size() == 2);
  CHECK(max_difference(state[1], zeros({3, 6})) == 0);
  const Tensor logits = model.step(memory, ids({2, 2, 2}, {3}), state);
  CHECK(max_difference(logits, model.output(state[1])) == 0);  // what is fed is what is read out
  std::vector<Tensor> other = state;
  other[1] = zeros({3, 6});
  const Tensor next = model.step(memory, ids({4, 4, 4}, {3}), state);
  CHECK(max_difference(next, model.step(memory, ids({4, 4, 4}, {3}), other)) > 1e-4);
}

TEST_CASE("every parameter gets a gradient") {
  Rng rng(1);
  const Example e;
  const Tensor targets = ids({4, 5, 3, 6, 3, 3}, {6});
  for (const std::string& attention : kinds()) {
    Seq2Seq model = make(attention, rng);
    const GradientAudit audit;
    const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
    cross_entropy(model.decode(memory, e.inputs, e.target_lengths), targets).backward();
    CHECK(audit.report(model.parameters()) == "every parameter got a finite, non-zero gradient\n");
  }
}

TEST_CASE("dropout is active in training only") {
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
  for (const std::string& attention : kinds()) {
    CAPTURE(attention);
    const Seq2Seq model = make(attention, rng);
    const Seq2SeqMemory memory = model.encode(ids({}, {0, 4}), {});
    CHECK(model.decode(memory, ids({}, {0, 3}), {}).shape() == Shape{0, 7});
    std::vector<Tensor> state = model.initial_state(memory);
    CHECK(model.step(memory, ids({}, {0}), state).shape() == Shape{0, 7});
    CHECK(state[0].shape() == Shape{0, 6});
  }
}

TEST_CASE("targets of no words have no logits") {
  Rng rng(1);
  const Example e;
  for (const std::string& kind : kinds()) {
    CAPTURE(kind);
    const Seq2Seq model = make(kind, rng);
    Tensor weights;
    const Tensor logits = model.decode(model.encode(e.source, e.source_lengths), ids({}, {3, 0}),
                                       {0, 0, 0}, &weights);
    CHECK(logits.shape() == Shape{0, 7});
    CHECK(weights.defined() == attends(kind));
    if (attends(kind)) CHECK(weights.shape() == Shape{3, 0, 4});
  }
}

TEST_CASE("a step with an invalid state is an error") {
  Rng rng(1);
  const Example e;
  const Seq2Seq model = make("additive", rng);
  const Seq2SeqMemory memory = model.encode(e.source, e.source_lengths);
  std::vector<Tensor> none, state = model.initial_state(memory);
  CHECK(message_of<StateError>([&] {
          model.step(memory, ids({2, 2, 2}, {3}), none);
        }) == "Seq2Seq: a state of 0 tensors for 3 hypotheses: the first must be (3, 6)");
  CHECK(message_of<StateError>([&] {
          model.step(memory, ids({2, 2, 2, 2, 2, 2}, {6}), state);
        }) == "Seq2Seq: a state of 1 tensors for 6 hypotheses: the first must be (6, 6)");
  const Seq2Seq fed = make("additive fed", rng);
  CHECK(message_of<StateError>([&] {
          fed.step(memory, ids({2, 2, 2}, {3}), state);
        }) == "Seq2Seq: a state of 1 tensors for 3 hypotheses: the first two must be (3, 6)");
  CHECK(message_of<ShapeError>([&] {
          model.step(memory, ids({2, 2, 2, 2}, {4}), state);
        }) == "Seq2Seq: ids (4,) for 3 sentences: must be (B K)");
}
