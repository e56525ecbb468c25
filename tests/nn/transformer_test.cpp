// The Transformer: names, initialization, equality of batches, steps and caches with the whole.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/state.h>
#include <fovea/nn/decode.h>
#include <fovea/nn/transformer.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

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

Tensor row(const Tensor& x, std::int64_t b) { return slice(x, 0, b, b + 1); }

// A whole model in double, tied tables still tied.
void make_double(Module& module) {
  struct ToDouble final : Visitor {
    std::map<const TensorImpl*, Tensor> done;
    std::vector<Tensor> kept;  // keeps the tensors alive: addresses must be unique
    void parameter(std::string_view, Tensor& value) override {
      kept.push_back(value);
      Tensor& wide = done[value.impl()];
      if (!wide.defined()) wide = value.detach().to(DType::f64).set_requires_grad();
      value = wide;
    }
    void child(std::string_view, Module& child) override { child.visit(*this); }
  } visitor;
  module.visit(visitor);
}

struct WeightsSeen final : AttentionObserver {
  Tensor weights;  // (B, H, T, S)
  void on_attention(const Attention&, const AttentionCall& call) override {
    weights = call.rows(0, call.T);
  }
};

struct Example {
  Tensor source = ids({4, 5, 6, 7, 5, 4, 0, 0, 6, 7, 4, 0}, {3, 4});  // padded with 0
  Lengths source_lengths{4, 2, 3};
  Tensor inputs = ids({2, 4, 5, 2, 6, 0, 2, 0, 0}, {3, 3});  // <bos> is 2
  Lengths target_lengths{3, 2, 1};
  Tensor targets = ids({4, 5, 3, 6, 3, 3}, {6});
};

TransformerOptions small() {
  return {.source_vocab = 8,
          .target_vocab = 7,
          .d_model = 12,
          .nhead = 3,
          .dim_feedforward = 10,
          .num_encoder_layers = 2,
          .num_decoder_layers = 2};
}

// Every option at least once.
std::vector<TransformerOptions> kinds() {
  std::vector<TransformerOptions> all(5, small());
  all[1].norm_first = true;
  all[1].activation = Activation::swiglu;
  all[1].norm = NormKind::rms;
  all[1].positions = Positions::none;
  all[1].rope = RopeOptions{};
  all[1].bias = false;
  all[2].activation = Activation::gelu;
  all[2].positions = Positions::learned;
  all[2].max_length = 9;
  all[2].num_kv_heads = 1;
  all[3].tied = TiedEmbeddings::target;
  all[3].num_decoder_layers = 1;
  all[4].tied = TiedEmbeddings::all;
  all[4].target_vocab = 8;
  all[4].final_norm = true;
  all[4].alibi = true;
  return all;
}

std::vector<std::string> names_of(Module& module) {
  std::vector<std::string> names;
  for (const auto& [name, value] : module.parameters()) names.push_back(name);
  return names;
}

}  // namespace

TEST_CASE("tied tables are one parameter") {
  Rng rng(1);
  TransformerOptions o = small();
  Transformer apart(o, rng);
  o.tied = TiedEmbeddings::target;
  Transformer target(o, rng);
  o.target_vocab = 8;
  o.tied = TiedEmbeddings::all;
  Transformer all(o, rng);
  const auto count = [](Module& m, const char* end) {
    const auto names = names_of(m);
    return std::count_if(names.begin(), names.end(),
                         [&](const std::string& name) { return name.ends_with(end); });
  };
  CHECK(count(apart, "embedding.weight") == 2);
  CHECK(count(apart, "output.weight") == 1);
  CHECK(count(apart, "output.bias") == 1);
  CHECK(count(target, "embedding.weight") == 2);
  CHECK(count(target, "output.weight") == 0);
  CHECK(count(all, "embedding.weight") == 1);
  CHECK(count(all, "output.bias") == 0);
}

TEST_CASE("initialization: matrices xavier-uniform, tables N(0, 1/C), the padding row 0") {
  Rng rng(1);
  TransformerOptions o = small();
  o.source_vocab = 2000;
  o.d_model = 64;
  o.nhead = 4;
  Transformer model(o, rng);
  const auto& layer = model.encoder.layers[0];
  const double bound = std::sqrt(6.0 / (4 * 64));
  const double largest = max(abs(layer.self_attn.in_proj_weight)).item<double>();
  CHECK(largest <= bound);
  CHECK(largest >= 0.99 * bound);
  CHECK(max(abs(layer.self_attn.out_proj.weight)).item<double>() >= 0.99 * std::sqrt(6.0 / 128));
  CHECK(max(abs(layer.self_attn.in_proj_bias)).item<double>() == 0);
  const Tensor& table = model.source_embedding.weight;
  CHECK(mean(square(table)).item<double>() == doctest::Approx(1.0 / 64).epsilon(0.02));
  CHECK(max(abs(row(table, 0))).item<double>() == 0);
}

TEST_CASE("every parameter gets a gradient") {
  const Example e;
  for (const TransformerOptions& o : kinds()) {
    Rng rng(3);
    Transformer model(o, rng);
    const GradientAudit audit;
    const TransformerMemory memory = model.encode(e.source, e.source_lengths);
    cross_entropy(model.decode(memory, e.inputs, e.target_lengths), e.targets).backward();
    for (const auto& finding : audit.findings(model.parameters())) FAIL_CHECK(finding.parameter);
  }
}

TEST_CASE("decoding step by step gives the logits of teacher forcing") {
  const Example e;
  for (const bool wide : {false, true})
    for (const TransformerOptions& o : kinds()) {
      Rng rng(5);
      Transformer model(o, rng);
      if (wide) make_double(model);
      model.eval();
      const TransformerMemory memory = model.encode(e.source, e.source_lengths);
      const Tensor forced = pad(Ragged{model.decode(memory, e.inputs, e.target_lengths),
                                       RaggedIndex(e.target_lengths)});  // (B, T, V)
      const double bound = (wide ? 1e-12 : 1e-5) * max(abs(forced)).item<double>();
      std::vector<Tensor> state = model.initial_state(memory);
      for (std::int64_t t = 0; t < 3; ++t) {
        const Tensor logits = model.step(memory, select(e.inputs, 1, t), state);
        for (std::int64_t b = 0; b < 3; ++b)
          if (t < e.target_lengths[static_cast<std::size_t>(b)])
            CHECK(max_difference(row(logits, b), select(row(forced, b), 1, t)) <= bound);
      }
    }
}

TEST_CASE("several hypotheses per sentence are decoded as each alone") {
  const Example e;
  for (const TransformerOptions& o : kinds()) {
    Rng rng(6);
    Transformer model(o, rng);
    model.eval();
    const TransformerMemory memory = model.encode(e.source, e.source_lengths);
    std::vector<Tensor> both;
    for (const Tensor& x : model.initial_state(memory)) both.push_back(concat({x, x}, 0));
    std::vector<Tensor> alone[2] = {model.initial_state(memory), model.initial_state(memory)};
    for (const std::int64_t t : {0, 1}) {
      const Tensor logits = model.step(memory, ids({1, 2, 3, 4, 5 + t, 6}, {6}), both);  // K = 2
      for (std::int64_t k = 0; k < 2; ++k) {
        const Tensor one = model.step(memory, ids({1 + k, 3 + k, k == 0 ? 5 + t : 6}, {3}),
                                      alone[static_cast<std::size_t>(k)]);
        CHECK(max_difference(one, select(reshape(logits, {3, 2, o.target_vocab}), 1, k)) <= 1e-5);
      }
    }
  }
}

TEST_CASE("beam search over the model: beam 1 is argmax, a wider beam is no worse") {
  const Example e;
  Rng rng(7);
  Transformer model(small(), rng);
  model.eval();
  const TransformerMemory memory = model.encode(e.source, e.source_lengths);
  const DecodeStep step = [&](const Tensor& tokens, std::vector<Tensor>& state) {
    return model.step(memory, tokens, state);
  };
  BeamOptions o{.beam = 1, .max_length = 4};
  o.length_penalty = 0;  // scores are then log-probabilities
  const auto greedy = beam_search(step, model.initial_state(memory), 3, o);
  o.beam = 3;
  const auto wide = beam_search(step, model.initial_state(memory), 3, o);
  for (std::size_t b = 0; b < 3; ++b) {
    CHECK(wide[b][0].score >= greedy[b][0].score - 1e-6);
    std::vector<std::int64_t> tokens{2};
    tokens.insert(tokens.end(), greedy[b][0].tokens.begin(), greedy[b][0].tokens.end());
    const auto T = static_cast<std::int64_t>(tokens.size());
    const auto at = static_cast<std::int64_t>(b);
    const std::int64_t S = e.source_lengths[b];
    const Tensor logits = model.decode(model.encode(slice(row(e.source, at), 1, 0, S), {S}),
                                       ids(tokens, {1, T}), {T});  // (T, V)
    const std::vector<std::int64_t> best = argmax(logits, -1).to_vector<std::int64_t>();
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) CHECK(best[t] == tokens[t + 1]);
  }
}

TEST_CASE("a batch equals its sentences one by one, and padding has no effect") {
  const Example e;
  for (const TransformerOptions& o : kinds()) {
    Rng rng(8);
    Transformer model(o, rng);
    model.eval();
    const Tensor all = pad(
        Ragged{model.decode(model.encode(e.source, e.source_lengths), e.inputs, e.target_lengths),
               RaggedIndex(e.target_lengths)});  // (B, T, V)
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t S = e.source_lengths[static_cast<std::size_t>(b)];
      const std::int64_t T = e.target_lengths[static_cast<std::size_t>(b)];
      const TransformerMemory memory = model.encode(slice(row(e.source, b), 1, 0, S), {S});
      const Tensor one = model.decode(memory, slice(row(e.inputs, b), 1, 0, T), {T});
      CHECK(max_difference(one, select(slice(row(all, b), 1, 0, T), 0, 0)) <= 1e-5);
    }
    Tensor other = e.source.clone();
    other.mutable_data<std::int64_t>()[7] = 3;  // after the end of the second sentence
    const Tensor same =
        pad(Ragged{model.decode(model.encode(other, e.source_lengths), e.inputs, e.target_lengths),
                   RaggedIndex(e.target_lengths)});
    CHECK(max_difference(all, same) == 0);
  }
}

TEST_CASE("future tokens do not change past results") {
  const Example e;
  for (const TransformerOptions& o : kinds()) {
    Rng rng(9);
    Transformer model(o, rng);
    model.eval();
    const TransformerMemory memory = model.encode(e.source, e.source_lengths);
    const Tensor a = model.decode(memory, ids({2, 4, 5, 2, 6, 4, 2, 1, 1}, {3, 3}), {3, 3, 3});
    const Tensor b = model.decode(memory, ids({2, 4, 1, 2, 6, 1, 2, 1, 3}, {3, 3}), {3, 3, 3});
    const Tensor before = reshape(a, {3, 3, -1}), after = reshape(b, {3, 3, -1});
    CHECK(max_difference(slice(before, 1, 0, 2), slice(after, 1, 0, 2)) == 0);
    CHECK(max_difference(before, after) > 1e-4);
  }
}

TEST_CASE("the weights of a step: of the second to last layer, on source words without padding") {
  const Example e;
  for (const std::int64_t layers : {1, 3}) {
    Rng rng(10);
    TransformerOptions o = small();
    o.num_decoder_layers = layers;
    Transformer model(o, rng);
    const TransformerMemory memory = model.encode(e.source, e.source_lengths);
    std::vector<Tensor> state = model.initial_state(memory);
    Tensor weights;
    WeightsSeen seen;
    model.decoder.layers[layers == 1 ? 0 : 1].multihead_attn.watch(seen);
    model.step(memory, ids({2, 2, 2}, {3}), state, &weights);
    CHECK(max_difference(weights, mean(seen.weights, 1)) <= 1e-6);
    CHECK(weights.shape() == Shape{3, 1, 4});
    CHECK(max_difference(sum(weights, -1), ones({3, 1})) <= 1e-6);
    CHECK(max_difference(slice(select(weights, 0, 1), 1, 2, 4), zeros({1, 2})) == 0);
  }
}

TEST_CASE("save and load restore the same outputs") {
  const Example e;
  const auto path = std::filesystem::temp_directory_path() / "fovea_transformer_test.safetensors";
  for (const TransformerOptions& o : kinds()) {
    Rng rng(14), other_rng(15);
    Transformer model(o, rng), other(o, other_rng);
    model.eval();
    other.eval();
    const auto logits = [&](const Transformer& m) {
      return m.decode(m.encode(e.source, e.source_lengths), e.inputs, e.target_lengths);
    };
    CHECK(max_difference(logits(model), logits(other)) > 1e-3);
    save(path, model.state());
    load_into(path, other.state());
    CHECK(max_difference(logits(model), logits(other)) == 0);
  }
  std::filesystem::remove(path);
}

TEST_CASE("a frozen encoder leaves the decoder trainable") {
  const Example e;
  Rng rng(16);
  Transformer model(small(), rng);
  model.encoder.freeze();
  model.source_embedding.freeze();
  cross_entropy(model.decode(model.encode(e.source, e.source_lengths), e.inputs, e.target_lengths),
                e.targets)
      .backward();
  for (const auto& [name, value] : model.encoder.parameters()) CHECK_FALSE(value.grad().defined());
  for (const auto& [name, value] : model.decoder.parameters()) CHECK(value.grad().defined());
}

TEST_CASE("error messages name the argument and the module") {
  const Example e;
  Rng rng(17);
  TransformerOptions o = small();
  o.tied = TiedEmbeddings::all;
  CHECK(message_of<ValueError>([&] { Transformer(o, rng); }) ==
        "Transformer: source_vocab = 8, target_vocab = 7: must be equal for one table");
  o = small();
  o.num_decoder_layers = 0;
  CHECK(message_of<ValueError>([&] { Transformer(o, rng); }) ==
        "Transformer: num_decoder_layers = 0: must be from 1 to 65536");
  o = small();
  o.dim_feedforward = 0;
  CHECK(message_of<ValueError>([&] { Transformer(o, rng); }) ==
        "TransformerLayer: dim_feedforward = 0: must be from 1 to 1073741824");
  o = small();
  o.num_encoder_layers = -1;
  CHECK(message_of<ValueError>([&] { Transformer(o, rng); }) ==
        "Transformer: num_encoder_layers = -1: must be from 0 to 65536");
  Transformer model(small(), rng);
  model.name_tree("translate");
  CHECK(message_of<ShapeError>([&] {
          model.encode(e.source, {4, 2});
        }) == "Transformer: ids (3, 4) and 2 lengths: must be (B, length) and B, in translate");
  CHECK(message_of<ValueError>([&] { model.initial_state({}); }) ==
        "Transformer: memory of 0 layers: must be of encode(), with 2 layers, in translate");
  CHECK_THROWS_AS(model.decode({}, ones({1, 2}, DType::i64), {2}), ValueError);
  const TransformerMemory memory = model.encode(e.source, e.source_lengths);
  std::vector<Tensor> state;
  CHECK(message_of<ShapeError>([&] {
          model.step(memory, ids({2, 2, 2}, {3}), state);
        }) ==
        "Transformer: 3 hypotheses of 3 sentences and a state of 0 tensors: must be B K, B, 4, in "
        "translate");
  CHECK(message_of<ShapeError>([&] {
          model.encoder(zeros({2, 3, 5}));
        }).ends_with(", in translate.encoder.layers.0.self_attn"));
}
