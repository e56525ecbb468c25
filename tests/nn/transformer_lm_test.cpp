#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/storage.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/optim/adam.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

using Ids = std::vector<std::int64_t>;

TransformerLMOptions small(LmPositions positions = LmPositions::learned) {
  TransformerLMOptions o{.vocab = 11, .d_model = 16, .nhead = 4, .num_layers = 2};
  o.dim_feedforward = 24;
  o.max_len = 20;
  o.positions = positions;
  o.dropout = 0;
  return o;
}

// Every kind of model: positions, norms, activations, heads, tied or not.
std::vector<TransformerLMOptions> all_models() {
  std::vector<TransformerLMOptions> all;
  for (const LmPositions p :
       {LmPositions::none, LmPositions::learned, LmPositions::sinusoidal, LmPositions::rope})
    all.push_back(small(p));
  TransformerLMOptions llama = small(LmPositions::rope);
  llama.num_kv_heads = 2;
  llama.norm = NormKind::rms;
  llama.activation = Activation::swiglu;
  llama.bias = false;
  all.push_back(llama);
  llama.rope.pairing = RopePairing::halves;
  llama.window = 4;
  all.push_back(llama);
  TransformerLMOptions near = small(LmPositions::alibi);
  near.window = 6;
  all.push_back(near);
  TransformerLMOptions post = small();
  post.norm_first = false;
  post.tied = false;
  post.activation = Activation::relu;
  all.push_back(post);
  return all;
}

Tensor some_ids(std::int64_t B, std::int64_t T, std::uint64_t seed = 3) {
  Rng rng(seed);
  Ids ids;
  for (std::int64_t i = 0; i < B * T; ++i) ids.push_back(rng.below(11));
  return from_data(ids, {B, T});
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

}  // namespace

TEST_CASE("names and shapes") {
  Rng rng(1);
  TransformerLM model(small(), rng);
  std::vector<std::string> names;
  for (const auto& [name, value] : model.parameters()) names.push_back(name);
  const std::string layer = "transformer.layers.0.";
  const std::vector<std::string> first{
      "embedding.weight", "positions.weight", layer + "self_attn.in_proj_weight",
      layer + "self_attn.in_proj_bias", layer + "self_attn.out_proj.weight"};
  REQUIRE(names.size() == 2 + 2 * 12 + 2);
  CHECK(std::vector(names.begin(), names.begin() + 5) == first);
  CHECK(names.back() == "transformer.norm.bias");
  CHECK(model(some_ids(2, 5)).shape() == Shape{2, 5, 11});
  CHECK(model(some_ids(3, 5), {5, 1, 2}).shape() == Shape{8, 11});
  TransformerLMOptions untied = small();
  untied.tied = false;
  TransformerLM other(untied, rng);
  CHECK(other.parameters().back().first == "output.weight");
  CHECK(other.parameter_count() == model.parameter_count() + 11 * 16);
}

TEST_CASE("a later token does not change earlier results") {
  const NoGrad guard;
  for (const TransformerLMOptions& o : all_models()) {
    Rng rng(2);
    TransformerLM model(o, rng);
    model.eval();
    const Tensor ids = some_ids(2, 9);
    Tensor changed = ids.clone();
    narrow(changed, 1, 6, 1).copy_from(full({2, 1}, 10, DType::i64));
    const Tensor before = model(ids), after = model(changed);
    CHECK(max_difference(narrow(before, 1, 0, 6), narrow(after, 1, 0, 6)) == 0);
    CHECK(max_difference(narrow(before, 1, 6, 1), narrow(after, 1, 6, 1)) > 1e-4);
  }
}

TEST_CASE("every parameter gets a gradient that is not zero") {
  for (const TransformerLMOptions& o : all_models()) {
    Rng rng(3);
    TransformerLM model(o, rng);
    const Tensor ids = some_ids(3, 8), targets = some_ids(3, 8, 4);
    cross_entropy(model(ids), targets).backward();
    for (const auto& parameter : model.parameters()) {
      CAPTURE(parameter.first);
      REQUIRE(parameter.second.grad().defined());
      CHECK(largest(parameter.second.grad()) > 0);
    }
  }
}

TEST_CASE("a padded batch equals its sequences one by one") {
  const NoGrad guard;
  Rng rng(4);
  TransformerLM model(small(LmPositions::rope), rng);
  model.eval();
  const Tensor ids = some_ids(3, 7);
  const Tensor packed = model(ids, {7, 2, 5});
  std::int64_t at = 0;
  for (std::int64_t b = 0; b < 3; ++b) {
    const std::int64_t T = std::vector<std::int64_t>{7, 2, 5}[static_cast<std::size_t>(b)];
    const Tensor one = model(narrow(narrow(ids, 0, b, 1), 1, 0, T));
    CHECK(max_difference(narrow(packed, 0, at, T), select(one, 0, 0)) <= 1e-6);
    at += T;
  }
}

TEST_CASE(
    "with a cache: the same logits, token by token, in chunks, and in rows of different lengths") {
  const NoGrad guard;
  const std::vector<std::int64_t> lengths{13, 5, 9};
  for (const DType dtype : {DType::f64, DType::f32})
    for (const TransformerLMOptions& o : all_models()) {
      Rng rng(5);
      TransformerLM model(o, rng);
      test::cast(model, dtype);
      model.eval();
      const Tensor ids = some_ids(3, 18);
      const Tensor full = model(ids);  // (B, T, V)
      const double bound = (dtype == DType::f64 ? 1e-12 : 1e-5) * std::max(1.0, largest(full));
      CAPTURE(o.window);

      LmCache cache = model.make_cache(3, 0, 4);
      for (std::int64_t t = 0; t < 18; t += 3) {
        const Tensor logits = model.extend(narrow(ids, 1, t, 3), cache);
        CHECK(max_difference(logits, narrow(full, 1, t, 3)) <= bound);
      }
      cache.clear();
      for (std::int64_t t = 0; t < 18; ++t)
        CHECK(max_difference(model.step(select(ids, 1, t), cache), select(full, 1, t)) <= bound);

      // Rows of different lengths.
      LmCache apart = model.make_cache(3, 0, 4);
      for (const std::vector<std::int64_t>& counts :
           {Ids{3, 1, 0}, Ids{1, 2, 4}, Ids{2, 0, 1}, Ids{1, 3, 2}}) {
        const std::int64_t T = *std::max_element(counts.begin(), counts.end());
        const Ids begin = apart.lengths();
        Tensor chunk = zeros({3, T}, DType::i64);
        for (std::int64_t b = 0; b < 3; ++b) {
          const auto row = static_cast<std::size_t>(b);
          narrow(select(chunk, 0, b), 0, 0, counts[row])
              .copy_from(narrow(select(ids, 0, b), 0, begin[row], counts[row]));
        }
        const Tensor logits = model.extend(chunk, apart, counts);
        for (std::int64_t b = 0; b < 3; ++b) {
          const auto row = static_cast<std::size_t>(b);
          CHECK(max_difference(narrow(select(logits, 0, b), 0, 0, counts[row]),
                               narrow(select(full, 0, b), 0, begin[row], counts[row])) <= bound);
        }
      }

      // Prompts of different lengths, then five more tokens each.
      for (const std::int64_t max_chunk : {1, 4, 13}) {
        LmCache rows = model.make_cache(3, 0, max_chunk);
        Tensor logits = model.prefill(narrow(ids, 1, 0, 13), rows, lengths);
        for (std::int64_t more = 0; more <= 5; ++more) {
          Ids next;
          for (std::int64_t b = 0; b < 3; ++b) {
            const std::int64_t t = lengths[static_cast<std::size_t>(b)] + more;
            CHECK(max_difference(select(logits, 0, b), select(select(full, 0, b), 0, t - 1)) <=
                  bound);
            if (t < 18) next.push_back(ids.data<std::int64_t>()[b * 18 + t]);
          }
          if (more < 5) logits = model.step(from_data(next, {3}), rows);
        }
      }
    }
}

TEST_CASE("a few sequences are memorized, and generated from their prefixes") {
  Rng rng(6);
  TransformerLMOptions o = small(LmPositions::rope);
  o.norm = NormKind::rms;
  o.activation = Activation::swiglu;
  TransformerLM model(o, rng);
  optim::Adam adam(model.parameters(), {.lr = 1e-2});
  const std::vector<Ids> sequences{{1, 3, 5, 7, 9, 1, 2, 10}, {2, 3, 5, 8, 9, 4, 4, 10}};
  Ids inputs, targets;
  for (const Ids& s : sequences) {
    inputs.insert(inputs.end(), s.begin(), s.end() - 1);
    targets.insert(targets.end(), s.begin() + 1, s.end());
  }
  const Tensor x = from_data(inputs, {2, 7}), y = from_data(targets, {2, 7});
  double loss = 0;
  for (int step = 0; step < 150; ++step) {
    adam.zero_grad();
    const Tensor l = cross_entropy(model(x), y);
    l.backward();
    adam.step();
    loss = l.item<double>();
  }
  CHECK(loss < 0.01);
  model.eval();
  for (const Ids& s : sequences) {
    const GenerateOptions options{.sampling = {.temperature = 0}, .stop = {10}};
    const Ids said = generate(model, std::span(s).first(1), options, rng);
    CHECK(said == Ids(s.begin() + 1, s.end() - 1));  // and it knew when to stop
  }
}

TEST_CASE("generate: max_tokens, seeds, stop, max_len") {
  Rng rng(7);
  TransformerLM model(small(), rng);
  model.eval();
  const Ids prompt{1, 2, 3};
  const auto sampled = [&](std::uint64_t seed) {
    Rng draws(seed);
    return generate(model, prompt, {.max_tokens = 15}, draws);
  };
  CHECK(sampled(1).size() == 15);
  CHECK(sampled(1) == sampled(1));
  CHECK(sampled(1) != sampled(2));
  Ids told;
  generate(model, prompt, {}, rng, [&](std::int64_t token) {
    told.push_back(token);
    return told.size() < 4;
  });
  CHECK(told.size() == 4);
  // max_len is 20: 17 tokens are fed back, and an 18th is only returned.
  CHECK(generate(model, prompt, {.max_tokens = 100}, rng).size() == 18);
  CHECK(generate(model, prompt, {.max_tokens = 0}, rng).empty());
  CHECK(message_of<ValueError>([&] { generate(model, Ids{}, {}, rng); }) ==
        "generate: an empty prompt: must have at least 1 token");
  CHECK(message_of<ValueError>([&] { generate(model, Ids(21, 1), {}, rng); }) ==
        "generate: a prompt of 21 tokens: must be at most max_len = 20");
  TransformerLMOptions sliding = small(LmPositions::rope);
  sliding.window = 5;
  TransformerLM endless(sliding, rng);
  endless.eval();
  CHECK(generate(endless, prompt, {.max_tokens = 60}, rng).size() == 60);
  std::size_t heard = 0;
  generate(endless, prompt, {.max_tokens = std::numeric_limits<std::int64_t>::max()}, rng,
           [&](std::int64_t) { return ++heard < 50; });
  CHECK(heard == 50);
}

TEST_CASE("invalid arguments are errors") {
  Rng rng(8);
  TransformerLM model(small(), rng);
  model.eval();
  CHECK(message_of<ValueError>([&] { model(some_ids(1, 21)); }) ==
        "TransformerLM: 21 tokens: must be at most max_len = 20");
  CHECK(message_of<ShapeError>([&] { model(zeros({3}, DType::i64)); }) ==
        "TransformerLM: ids (3,): must be (B, T) and not empty");
  CHECK_THROWS_AS(model(zeros({1, 0}, DType::i64)), ShapeError);
  CHECK_THROWS_AS(model(full({1, 2}, 11, DType::i64)), IndexError);
  CHECK(message_of<ValueError>([&] { model.make_cache(1, 21); }) ==
        "TransformerLM: a cache of 21 tokens: must be at most max_len = 20");
  LmCache cache = model.make_cache(1, 4);
  model.prefill(some_ids(1, 3), cache);
  CHECK_THROWS_AS(model.prefill(some_ids(1, 2), cache), StateError);
  CHECK(cache.lengths() == Ids{3});
  CHECK(message_of<ValueError>([&] { model.prefill(some_ids(1, 1), cache, {2}); }) ==
        "TransformerLM::prefill: length = 2 with ids (1, 1): must be from 1 to 1");
  CHECK(message_of<ShapeError>([&] {
          model.prefill(some_ids(1, 1), cache, {1, 1});
        }) == "TransformerLM::prefill: ids (1, 1) and 2 lengths: must be one per row");
  TransformerLM biased(small(LmPositions::alibi), rng);
  LmCache full = biased.make_cache(2, 4);
  biased.extend(some_ids(2, 3), full, {3, 1});
  CHECK(message_of<StateError>([&] {
          biased.extend(some_ids(2, 2), full, {1, 2});
        }) ==
        "TransformerLM: 2 tokens after 3 with alibi: must be at most capacity = 4 with padding");
  TransformerLMOptions o = small();
  o.num_layers = 0;
  CHECK(message_of<ValueError>([&] { TransformerLM(o, rng); }) ==
        "TransformerLM: num_layers = 0: must be from 1 to 65536");
  o = small();
  o.num_layers = 3;
  LmCache deeper = TransformerLM(o, rng).make_cache(1);
  CHECK(message_of<ValueError>([&] { model.step(from_data(Ids{1}, {1}), deeper); }) ==
        "TransformerLM: a cache of 3 layers: must be 2");
  LmCache none;
  CHECK(message_of<ValueError>([&] { model.prefill(some_ids(1, 1), none); }) ==
        "TransformerLM: a cache of 0 layers: must be 2");
}
