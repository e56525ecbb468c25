// Options of modules, searches and samplers at the ends of int64: a ValueError that names the
// option.
#include <fovea/core/ops/layout.h>
#include <fovea/core/random.h>
#include <fovea/nn/attention/kv_cache.h>
#include <fovea/nn/attention/linear_attention.h>
#include <fovea/nn/attention/local.h>
#include <fovea/nn/attention/location_aware.h>
#include <fovea/nn/attention/luong.h>
#include <fovea/nn/attention/multihead_decoder.h>
#include <fovea/nn/decode.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/lru.h>
#include <fovea/nn/min_rnn.h>
#include <fovea/nn/norm.h>
#include <fovea/nn/positional.h>
#include <fovea/nn/recurrent.h>
#include <fovea/nn/sampling.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/nn/transformer.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/tests/support/compare.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::message_of;

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(), kLeast = -kMost - 1;
constexpr std::int64_t k2_62 = std::int64_t{1} << 62;
constexpr std::int64_t kHostile[] = {kLeast, -1, std::int64_t{1} << 31, k2_62, kMost};

// One option of one module, and a function that constructs the module with it.
struct Option {
  std::string module, name;
  std::int64_t least;
  std::function<void(std::int64_t, Rng&)> make;
};

const std::vector<Option>& options() {
  static const std::vector<Option> all{
      {"Linear", "in_features", 1,
       [](auto n, Rng& rng) {
         Linear({n, 2}, rng);
       }},
      {"Linear", "out_features", 1,
       [](auto n, Rng& rng) {
         Linear({2, n}, rng);
       }},
      {"Embedding", "num_embeddings", 1,
       [](auto n, Rng& rng) {
         Embedding({n, 2}, rng);
       }},
      {"Embedding", "embedding_dim", 1,
       [](auto n, Rng& rng) {
         Embedding({2, n}, rng);
       }},
      {"LayerNorm", "width", 1, [](auto n, Rng&) { LayerNorm{n}; }},
      {"RMSNorm", "width", 1, [](auto n, Rng&) { RMSNorm{n}; }},
      {"Norm", "width", 1, [](auto n, Rng&) { Norm({.width = n}); }},
      {"PositionalEncoding", "dim", 1, [](auto n, Rng& rng) { PositionalEncoding({n}, rng); }},
      {"PositionalEncoding", "max_len", 1,
       [](auto n, Rng& rng) {
         PositionalEncoding({2, Positions::learned, n}, rng);
       }},
      {"sinusoidal_positions", "C", 1, [](auto n, Rng&) { sinusoidal_positions(arange(2), n); }},
      {"LSTM", "input_size", 1,
       [](auto n, Rng& rng) {
         LSTM({n, 2}, rng);
       }},
      {"GRU", "hidden_size", 1,
       [](auto n, Rng& rng) {
         GRU({2, n}, rng);
       }},
      {"RNN", "num_layers", 1,
       [](auto n, Rng& rng) {
         RNN({2, 2, n}, rng);
       }},
      {"GRUCell", "hidden_size", 1,
       [](auto n, Rng& rng) {
         GRUCell({2, n}, rng);
       }},
      {"MinGRU", "hidden_size", 1,
       [](auto n, Rng& rng) {
         MinGRU({2, n}, rng);
       }},
      {"MinLSTM", "num_layers", 1,
       [](auto n, Rng& rng) {
         MinLSTM({2, 2, n}, rng);
       }},
      {"LRU", "width", 1, [](auto n, Rng& rng) { LRU({.width = n, .state_size = 2}, rng); }},
      {"LRU", "state_size", 1, [](auto n, Rng& rng) { LRU({.width = 2, .state_size = n}, rng); }},
      {"MultiheadAttention", "embed_dim", 1,
       [](auto n, Rng& rng) { MultiheadAttention({.embed_dim = n, .num_heads = 1}, rng); }},
      {"MultiheadAttention", "num_heads", 1,
       [](auto n, Rng& rng) { MultiheadAttention({.embed_dim = 4, .num_heads = n}, rng); }},
      {"MultiheadAttention", "head_dim", 0,
       [](auto n, Rng& rng) {
         MultiheadAttention({.embed_dim = 4, .num_heads = 2, .head_dim = n}, rng);
       }},
      {"MultiheadAttention", "kdim", 0,
       [](auto n, Rng& rng) {
         MultiheadAttention({.embed_dim = 4, .num_heads = 2, .kdim = n}, rng);
       }},
      {"LocationAwareAttention", "radius", 0,
       [](auto n, Rng& rng) {
         LocationAwareAttention(
             {.query_dim = 2, .key_dim = 2, .attention_dim = 2, .filters = 1, .radius = n}, rng);
       }},
      {"LocationAwareAttention", "attention_dim", 1,
       [](auto n, Rng& rng) {
         LocationAwareAttention({.query_dim = 2, .key_dim = 2, .attention_dim = n}, rng);
       }},
      {"AttentionScore", "attention_dim", 1,
       [](auto n, Rng& rng) {
         LuongAttention({Score::concat, 2, 2, n}, rng);
       }},
      {"LinearAttention", "feature_dim", 0,
       [](auto n, Rng& rng) {
         LinearAttention({2, 2, n}, rng);
       }},
      {"MultiheadDecoderAttention", "num_heads", 1,
       [](auto n, Rng& rng) {
         MultiheadDecoderAttention(
             {.query_dim = 2, .key_dim = 2, .value_dim = 2, .attention_dim = 2, .num_heads = n},
             rng);
       }},
      {"TransformerLM", "vocab", 1, [](auto n, Rng& rng) { TransformerLM({.vocab = n}, rng); }},
      {"TransformerLM", "d_model", 1,
       [](auto n, Rng& rng) { TransformerLM({.vocab = 4, .d_model = n}, rng); }},
      {"TransformerLM", "window", 0,
       [](auto n, Rng& rng) { TransformerLM({.vocab = 4, .window = n}, rng); }},
      {"TransformerLM", "num_layers", 1,
       [](auto n, Rng& rng) { TransformerLM({.vocab = 4, .num_layers = n}, rng); }},
      {"Transformer", "num_decoder_layers", 1,
       [](auto n, Rng& rng) {
         Transformer({.source_vocab = 4, .target_vocab = 4, .num_decoder_layers = n}, rng);
       }},
      {"Seq2Seq", "hidden_size", 1,
       [](auto n, Rng& rng) {
         Seq2Seq({.source_vocab = 4, .target_vocab = 4, .hidden_size = n}, rng);
       }},
      {"KvCache", "batch_size", 1,
       [](auto n, Rng&) {
         KvCache({.batch_size = n, .num_kv_heads = 1, .head_dim = 1, .capacity = 1});
       }},
      {"KvCache", "capacity", 0,
       [](auto n, Rng&) {
         KvCache({.batch_size = 1, .num_kv_heads = 1, .head_dim = 1, .capacity = n});
       }},
      {"KvCache", "window", 0,
       [](auto n, Rng&) {
         KvCache({.batch_size = 1, .num_kv_heads = 1, .head_dim = 1, .window = n});
       }},
      {"KvCache", "max_chunk", 1,
       [](auto n, Rng&) {
         KvCache({.batch_size = 1, .num_kv_heads = 1, .head_dim = 1, .window = 1, .max_chunk = n});
       }},
  };
  return all;
}

// Logits (rows, 4) that favor the end token.
Tensor constant_step(const Tensor& ids, std::vector<Tensor>&) {
  return expand(tensor({0, 0, 0, 1}), {ids.dim(0), 4});
}

}  // namespace

TEST_CASE("every size of a module is checked by its name") {
  for (const Option& option : options())
    for (const std::int64_t value : kHostile) {
      CAPTURE(option.module);
      CAPTURE(option.name);
      Rng rng(1);
      CHECK(message_of<ValueError>([&] { option.make(value, rng); })
                .starts_with(option.module + ": " + option.name + " = " + std::to_string(value) +
                             ": must be from " + std::to_string(option.least) + " to "));
    }
}

TEST_CASE("a size of 0 is an error if a module would have no weights") {
  for (const Option& option : options()) {
    if (option.least == 0) continue;
    CAPTURE(option.module);
    CAPTURE(option.name);
    Rng rng(1);
    CHECK(message_of<ValueError>([&] {
            option.make(0, rng);
          }).starts_with(option.module + ": " + option.name + " = 0: must be from 1 to "));
  }
}

TEST_CASE("valid sizes that exceed the memory") {
  Rng rng(1);
  const std::int64_t n = std::int64_t{1} << 30;
  CHECK(message_of<ShapeError>([&] {
          Linear({n, n}, rng);
        }) ==
        "empty: shape (1073741824, 1073741824): the product of the nonzero sizes must be at most "
        "2^48");
  CHECK_THROWS_AS(Embedding({n, n >> 8}, rng), ShapeError);
  CHECK_THROWS_AS(LSTM({n, n}, rng), ShapeError);
  CHECK_THROWS_AS(MultiheadAttention({.embed_dim = n, .num_heads = n, .head_dim = n}, rng), Error);
  CHECK_THROWS_AS(KvCache({.batch_size = n, .num_kv_heads = n, .head_dim = n, .capacity = n}),
                  ShapeError);
}

TEST_CASE("beam searches of every width and length") {
  const auto search = [](std::int64_t B, const BeamOptions& options) {
    return message_of<ValueError>([&] { beam_search(constant_step, {}, B, options); });
  };
  for (const std::int64_t value : kHostile) {
    const std::string rule = " = " + std::to_string(value) + ": must be from ";
    CHECK(search(1, {.beam = value}).starts_with("beam_search: beam" + rule));
    CHECK(search(1, {.max_length = value}).starts_with("beam_search: max_length" + rule));
    CHECK(search(1, {.n_best = value}).starts_with("beam_search: n_best" + rule));
    CHECK(search(value, {}).starts_with("beam_search: B" + rule));
  }
  CHECK(search(1 << 30, {.beam = 1 << 30}) ==
        "beam_search: B * beam = 1152921504606846976: must fit into memory");
}

TEST_CASE("sampling and generation with counts at the ends of int64") {
  Rng rng(1);
  const Tensor logits = tensor({0, 1, 2});
  CHECK(sampling_probabilities(logits, {.top_k = kMost}) == sampling_probabilities(logits, {}));
  CHECK_THROWS_AS(sample(logits, {.top_k = kLeast}, rng), ValueError);
  const TransformerLM model({.vocab = 5, .d_model = 4, .nhead = 2, .num_layers = 1, .max_len = 6},
                            rng);
  const std::vector<std::int64_t> prompt{1, 2};
  CHECK(generate(model, prompt, {.max_tokens = kMost}, rng).size() == 5);
  CHECK(generate(model, prompt, {.max_tokens = 0}, rng).empty());
  CHECK(message_of<ValueError>([&] { generate(model, prompt, {.max_tokens = kLeast}, rng); }) ==
        "generate: max_tokens = -9223372036854775808: must be at least 0");
  CHECK_THROWS_AS(model.make_cache(kMost), ValueError);
  CHECK_THROWS_AS(model.make_cache(1, kLeast), ValueError);
}

TEST_CASE("positions at the ends of int64") {
  const Tensor places = from_data({kMost, kLeast, std::int64_t{0}}, {3});
  const Tensor p = sinusoidal_positions(places, 2);
  CHECK(p.shape() == Shape{3, 2});
  CHECK(select(select(p, 0, 2), 0, 1).item<double>() == 1);
}
