#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/storage.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::nn::inspect;
using test::max_difference;
using test::message_of;

namespace {

// A mechanism with fixed weights for any queries and keys.
class FixedWeights : public Attention {
 public:
  explicit FixedWeights(Tensor weights) : weights_(std::move(weights)) {}  // (B, H, T, S)
  Tensor operator()(const Tensor& query, const Tensor&, const Tensor&, const Mask&) const override {
    if (watched())
      report({weights_.dim(0), weights_.dim(1), weights_.dim(2), weights_.dim(3),
              [this](std::int64_t begin, std::int64_t end) {
                most_rows = std::max(most_rows, end - begin);
                return narrow(weights_, 2, begin, end - begin);
              }});
    return query;
  }
  void operator()() const { (*this)({}, {}, {}, Mask::none()); }
  void visit(Visitor&) override {}

  mutable std::int64_t most_rows = 0;  // the most rows requested at once

 private:
  Tensor weights_;
};

Tensor some_weights() { return full({1, 1, 2, 3}, 1.0 / 3); }

// model.encoder.layers.{0, 1}.attn,  model.decoder.layers.0.{self_attn, cross},  model.tied
struct Layer : Module {
  FixedWeights attn{some_weights()};
  void visit(Visitor& v) override { v("attn", attn); }
};
struct Encoder : Module {
  std::vector<Layer> layers = std::vector<Layer>(2);
  void visit(Visitor& v) override { v("layers", layers); }
};
struct DecoderLayer : Module {
  FixedWeights self_attn{some_weights()}, cross{some_weights()};
  void visit(Visitor& v) override {
    v("self_attn", self_attn);
    v("cross", cross);
  }
};
struct Decoder : Module {
  std::vector<DecoderLayer> layers = std::vector<DecoderLayer>(1);
  void visit(Visitor& v) override { v("layers", layers); }
};
struct Model : Module {
  Encoder encoder;
  Decoder decoder;
  void visit(Visitor& v) override {
    v("encoder", encoder);
    v("decoder", decoder);
    v("tied", encoder.layers[0].attn);
  }
};

std::string watched_by(Module& model, const std::string& pattern) {
  const AttentionProbe probe(model, pattern);
  std::string names;
  for (const ProbedLayer& layer : probe.layers()) names += layer.name + " ";
  return names;
}

// (B, H, T, S) = (1, 2, 2, 3): the first query of the second head is fully masked.
Tensor two_heads(DType dtype = DType::f64) {
  return from_data(std::vector<double>{0.5, 0.25, 0.25, 0, 1, 0, 0, 0, 0, 0.125, 0.125, 0.75},
                   {1, 2, 2, 3})
      .to(dtype);
}

ProbedCall probed(FixedWeights& layer, ProbeOptions options) {
  const AttentionProbe probe(layer, "**", std::move(options));
  layer();
  return probe.layers().at(0).calls.at(0);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.contiguous(), y = b.contiguous();
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         std::memcmp(x.raw_data(), y.raw_data(),
                     static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

const ProbeOptions everything{.matrix = true,
                              .head_mean = true,
                              .rows = {0, -1},
                              .entropy = true,
                              .distance = true,
                              .window = ProbeWindow{2, 1},
                              .top_k = 2,
                              .corner = Mask::Corner::bottom_right,
                              .block_rows = 3};

}  // namespace

TEST_CASE("probe: the layers matched by a pattern") {
  Model model;
  CHECK(attention_layers(model) ==
        std::vector<std::string>{"encoder.layers.0.attn", "encoder.layers.1.attn",
                                 "decoder.layers.0.self_attn", "decoder.layers.0.cross", "tied"});
  CHECK(watched_by(model, "decoder.layers.0.cross") == "decoder.layers.0.cross ");
  CHECK(watched_by(model, "encoder.layers.*.attn") ==
        "encoder.layers.0.attn encoder.layers.1.attn ");
  CHECK(watched_by(model, "**.*attn") ==
        "encoder.layers.0.attn encoder.layers.1.attn decoder.layers.0.self_attn ");
  CHECK(watched_by(model, "**.layers.0.**") ==
        "encoder.layers.0.attn decoder.layers.0.self_attn decoder.layers.0.cross ");
  CHECK(watched_by(model, "decoder.**.c*s*") == "decoder.layers.0.cross ");
  CHECK(watched_by(model, "tied") == "tied ");
  CHECK(watched_by(model, "*") == "tied ");
  CHECK(watched_by(model, "**") ==  // "tied" is encoder.layers.0.attn
        "encoder.layers.0.attn encoder.layers.1.attn decoder.layers.0.self_attn "
        "decoder.layers.0.cross ");
  FixedWeights alone(some_weights());
  CHECK(watched_by(alone, "**") == " ");  // the model itself: it has no path
}

TEST_CASE("probe: invalid options are errors") {
  Model model;
  for (const char* pattern : {"*.*", "encoder.*.attn", "encoder.layers.0.attn.**.x", "tie", ""})
    CHECK(message_of<ValueError>([&] { AttentionProbe(model, pattern); })
              .starts_with("AttentionProbe: pattern \"" + std::string(pattern) +
                           "\": must match one of the attention layers: encoder.layers.0.attn, "
                           "encoder.layers.1.attn, "));
  CHECK(message_of<ValueError>([&] { AttentionProbe(model, "**", {.block_rows = 0}); }) ==
        "AttentionProbe: block_rows = 0: must be at least 1");
  CHECK(message_of<ValueError>([&] { AttentionProbe(model, "**", {.top_k = -1}); }) ==
        "AttentionProbe: top_k = -1: must be at least 0");
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  CHECK(message_of<ValueError>([&] {
          AttentionProbe(model, "**", {.window = ProbeWindow{least, 0}});
        }) == "AttentionProbe: window.left = -9223372036854775808: must be at least 0");
  CHECK(message_of<ValueError>([&] {
          AttentionProbe(model, "**", {.window = ProbeWindow{0, -1}});
        }) == "AttentionProbe: window.right = -1: must be at least 0");
  FixedWeights root(two_heads());
  CHECK(
      message_of<ValueError>([&] { AttentionProbe(root, "attn"); }) ==
      "AttentionProbe: pattern \"attn\": must match one of the attention layers: the model itself");
  const AttentionProbe probe(model, "tied");
  CHECK(message_of<ValueError>([&] { probe.layer("encoder"); }) ==
        "AttentionProbe: layer \"encoder\": must be one of the watched layers: tied");

  FixedWeights layer(two_heads());
  CHECK(message_of<ShapeError>([&] { probed(layer, {.distance = true}); }) ==
        "AttentionProbe: the model: 2 queries and 3 keys: distance and window require a corner");
  CHECK(message_of<IndexError>([&] { probed(layer, {.rows = {2}}); }) ==
        "AttentionProbe: the model: row = 2: must be within 2 queries");
  CHECK(message_of<IndexError>([&] { probed(layer, {.rows = {-3}}); }) ==
        "AttentionProbe: the model: row = -3: must be within 2 queries");
}

TEST_CASE("probe: recorded values, by hand") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const std::int64_t block_rows : {1, 2, 5}) {
      CAPTURE(block_rows);
      FixedWeights layer(two_heads(dtype));
      const double tolerance = dtype == DType::f32 ? 1e-7 : 1e-15;
      const auto is = [&](const Tensor& got, const Shape& shape, const std::vector<double>& want) {
        return got.dtype() == dtype &&
               max_difference(got, from_data(want, shape).to(dtype)) <= tolerance;
      };
      ProbeOptions options = everything;
      options.block_rows = block_rows;
      options.window = ProbeWindow{1, 0};
      const ProbedCall call = probed(layer, options);
      CHECK(std::vector{call.B, call.H, call.T, call.S} == std::vector<std::int64_t>{1, 2, 2, 3});
      CHECK(same_bits(call.matrix, two_heads(dtype)));
      CHECK(is(call.head_mean, {1, 2, 3}, {0.25, 0.125, 0.125, 0.0625, 0.5625, 0.375}));
      CHECK(same_bits(call.rows, two_heads(dtype)));  // rows 0 and -1 are both rows
      const double mixed = -0.25 * std::log(0.125) - 0.75 * std::log(0.75);
      CHECK(is(call.entropy, {1, 2, 2}, {1.5 * std::log(2), 0, 0, mixed}));
      // bottom_right: query t has the position of key t + 1.
      CHECK(is(call.distance, {1, 2, 2}, {0.75, 1, 0, 0.375}));
      CHECK(is(call.window_mass, {1, 2, 2}, {0.75, 1, 0, 0.875}));
      CHECK(call.top_keys.to_vector<std::int64_t>() ==
            std::vector<std::int64_t>{0, 1, 1, 0, 0, 1, 2, 0});
      CHECK(is(call.top_weights, {1, 2, 2, 2}, {0.5, 0.25, 1, 0, 0, 0, 0.75, 0.125}));

      options.corner = Mask::Corner::top_left;
      const ProbedCall left = probed(layer, options);
      CHECK(is(left.distance, {1, 2, 2}, {0.75, 0, 0, 0.875}));
      CHECK(is(left.window_mass, {1, 2, 2}, {0.5, 1, 0, 0.25}));
    }
}

TEST_CASE("probe: NaN is not hidden") {
  constexpr float none = std::numeric_limits<float>::quiet_NaN();
  FixedWeights layer(from_data(std::vector<float>{0.5f, none, 0.25f, none}, {1, 1, 1, 4}));
  ProbeOptions options = everything;
  options.top_k = 3;
  options.window = ProbeWindow{3, 0};
  const ProbedCall call = probed(layer, options);
  for (const Tensor& summary : {call.entropy, call.distance, call.window_mass})
    CHECK(std::isnan(summary.item()));
  CHECK(call.top_keys.to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 3, 0});
}

TEST_CASE("probe: only requested values, in blocks of at most block_rows") {
  FixedWeights layer(full({2, 3, 50, 7}, 1.0 / 7));
  const ProbedCall call = probed(layer, {.entropy = true, .block_rows = 16});
  CHECK(layer.most_rows == 16);
  CHECK(call.entropy.shape() == Shape{2, 3, 50});
  for (const Tensor* other : {&call.matrix, &call.head_mean, &call.rows, &call.distance,
                              &call.window_mass, &call.top_keys, &call.top_weights})
    CHECK_FALSE(other->defined());

  FixedWeights chosen(full({1, 1, 50, 7}, 1.0 / 7));
  CHECK(probed(chosen, {.rows = {-1, 3, 3}}).rows.shape() == Shape{1, 1, 3, 7});
  CHECK(chosen.most_rows == 1);
  CHECK(probed(chosen, {.top_k = 100}).top_keys.shape() == Shape{1, 1, 50, 7});
  FixedWeights none(zeros({1, 2, 0, 3}));
  ProbeOptions no_rows = everything;
  no_rows.rows.clear();
  CHECK(probed(none, no_rows).matrix.shape() == Shape{1, 2, 0, 3});
}

TEST_CASE("probe: records during its lifetime, and can be paused and cleared") {
  FixedWeights layer(some_weights());
  {
    AttentionProbe probe(layer), second(layer);
    layer();
    probe.pause();
    layer();
    probe.pause(false);
    layer();
    CHECK(probe.layer("").calls.size() == 2);
    CHECK(second.layer("").calls.size() == 3);
    probe.clear();
    CHECK(probe.layer("").calls.empty());
  }
  layer.most_rows = 0;
  layer();
  CHECK(layer.most_rows == 0);
}

namespace {

struct Run {
  Tensor output, grad;
  double next_draw;  // of the generator afterwards
};

// One step of training (or of evaluation) with and without the probe, from the same state.
Run run(Attention& layer, Rng& rng, const Tensor& x, const Mask& mask,
        const std::optional<ProbeOptions>& options) {
  rng = Rng(5);
  Tensor input = x.clone();
  input.set_requires_grad();
  layer.zero_grad();
  std::optional<AttentionProbe> probe;
  if (options) probe.emplace(layer, "**", *options);
  const Tensor output = layer(input, input, input, mask);
  Rng cotangent(9);
  output.backward(randn(output.shape(), cotangent));
  if (options) CHECK(probe->layers()[0].calls.size() == 1);
  return {output.detach(), input.grad(), rng.uniform()};
}

void check_unchanged(Attention& layer, Rng& rng, const Tensor& x, const Mask& mask) {
  for (const bool training : {true, false}) {
    layer.train(training);
    const Run without = run(layer, rng, x, mask, std::nullopt);
    const Run with = run(layer, rng, x, mask, everything);
    CHECK(same_bits(with.output, without.output));
    CHECK(same_bits(with.grad, without.grad));
    CHECK(with.next_draw == without.next_draw);
  }
}

}  // namespace

TEST_CASE("probe: outputs, gradients and random draws are bitwise the same") {
  Rng data(1);
  const Tensor x = randn({2, 9, 12}, data);
  const Mask mask = Mask::lengths({9, 5});
  Rng rng(5);
  const MultiheadAttentionOptions sizes{.embed_dim = 12, .num_heads = 3};
  MultiheadAttention plain(sizes, rng);
  check_unchanged(plain, rng, x, mask);
  MultiheadAttentionOptions rich = sizes;
  rich.dropout = 0.4;
  rich.causal = true;
  rich.rope = RopeOptions{};
  rich.sinks = true;
  MultiheadAttention dropping(rich, rng);
  check_unchanged(dropping, rng, x, mask);
  for (const std::string& name : single_head_attention_names()) {
    CAPTURE(name);
    const auto layer =
        make_attention(name, {.query_dim = 12, .key_dim = 12, .attention_dim = 6}, rng);
    check_unchanged(*layer, rng, x, mask);
  }
}

TEST_CASE("probe: head_mean of multi-head attention is the mean of its weights") {
  Rng rng(3);
  const Tensor x = randn({3, 45, 12}, rng);
  MultiheadAttentionOptions options{.embed_dim = 12, .num_heads = 3, .dropout = 0.4};
  options.causal = true;
  options.sinks = options.alibi = true;
  for (const bool rich : {false, true}) {
    MultiheadAttention layer(
        rich ? options : MultiheadAttentionOptions{.embed_dim = 12, .num_heads = 3}, rng);
    const AttentionProbe probe(layer, "**", {.matrix = true, .head_mean = true});
    layer(x, Mask::lengths({45, 0, 20}));
    const ProbedCall& call = probe.layers()[0].calls.at(0);
    CHECK(call.head_mean.shape() == Shape{3, 45, 45});
    CHECK(max_difference(call.head_mean, mean(call.matrix, 1)) <= 1e-6);
  }
}

TEST_CASE("probe: the weights are those of the output, before dropout") {
  Rng rng(2);
  const Tensor x = randn({2, 7, 6}, rng);
  for (const std::string& name : single_head_attention_names()) {
    CAPTURE(name);
    const auto layer =
        make_attention(name, {.query_dim = 6, .key_dim = 6, .attention_dim = 4}, rng);
    const AttentionProbe probe(*layer);
    const Tensor output = (*layer)(x, x, x, Mask::lengths({7, 3}));
    const Tensor matrix = squeeze(probe.layers()[0].calls.at(0).matrix, 1);  // (B, T, S)
    CHECK(max_difference(matmul(matrix, x), output) <= 1e-5);
  }
  // Wide enough for one projection and for three to be computed in the same way.
  const Tensor wide = randn({2, 7, 16}, rng);
  MultiheadAttention layer({.embed_dim = 16, .num_heads = 2, .dropout = 0.9}, rng);
  const AttentionProbe probe(layer);
  layer(wide);
  const Tensor matrix = probe.layers()[0].calls.at(0).matrix;  // (B, H, T, S)
  CHECK(max_difference(sum(matrix, -1), ones({2, 2, 7})) <= 1e-6);
  layer.eval();
  CHECK(same_bits(matrix, layer.weights(wide, layer.project(wide, wide))));
}

TEST_CASE("probe: summaries keep O(T) memory") {
  const std::int64_t H = 4;
  Rng rng(3);
  MultiheadAttention layer({.embed_dim = 16, .num_heads = H}, rng);
  const NoGrad guard;
  struct Bytes {
    std::int64_t kept, peak;  // in addition to a run without probe
  };
  const auto bytes_of = [&](std::int64_t T) {
    const Tensor x = randn({1, T, 16}, rng);
    layer(x);
    reset_peak_memory();
    const MemoryStats before = memory_stats();
    layer(x);
    const std::int64_t own = memory_stats().peak_bytes - before.live_bytes;
    AttentionProbe probe(
        layer, "**",
        {.rows = {0}, .entropy = true, .distance = true, .window = ProbeWindow{8, 8}, .top_k = 4});
    reset_peak_memory();
    layer(x);
    const MemoryStats after = memory_stats();
    return Bytes{after.live_bytes - before.live_bytes, after.peak_bytes - before.live_bytes - own};
  };
  const Bytes small = bytes_of(512), large = bytes_of(2048);
  const std::int64_t matrix = H * 2048 * 2048 * 4;
  CHECK(large.kept > 0);
  CHECK(large.kept <= 4 * small.kept + 65536);
  CHECK(large.peak <= 4 * small.peak + 65536);
  CHECK(large.kept < matrix / 50);
  CHECK(large.peak < matrix / 10);
}

TEST_CASE("probe: an unlimited window has all the mass") {
  FixedWeights layer(two_heads());
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const AttentionProbe probe(
      layer, "**", {.window = ProbeWindow{most, most}, .corner = Mask::Corner::bottom_right});
  layer();
  CHECK(probe.layers()[0].calls[0].window_mass.to_vector<double>() ==
        std::vector<double>{1, 1, 0, 1});  // the first query of head 1 is fully masked
}

TEST_CASE("attention maps: from a probe") {
  FixedWeights layer(concat({two_heads(), zeros({1, 2, 2, 3}, DType::f64)}, 0));  // B = 2
  AttentionProbe probe(layer);
  CHECK(attention_maps(probe, {}).empty());
  layer();
  const auto maps = attention_maps(
      probe, {.mechanism = "told", .kind = AttentionKind::cross, .queries = "q", .keys = "k"});
  REQUIRE(maps.size() == 1);
  CHECK(maps[0].layer == "told");  // the model itself has no path
  CHECK(maps[0].mechanism == "told");
  CHECK(maps[0].kind == AttentionKind::cross);
  CHECK(maps[0].queries == "q");
  CHECK(maps[0].keys == "k");
  CHECK(maps[0].heads == 2);
  CHECK(maps[0].weights == two_heads().to_vector<float>());
  CHECK(attention_maps(probe, {.batch_row = 1})[0].weights == std::vector<float>(12, 0.0f));
  CHECK(message_of<IndexError>([&] { attention_maps(probe, {.batch_row = 2}); }) ==
        "attention_maps: the model: batch_row = 2: must be below 2");
  const AttentionProbe summary(layer, "**", {.entropy = true});
  layer();
  CHECK(message_of<StateError>([&] { attention_maps(summary, {}); }) ==
        "attention_maps: the model: no matrix recorded: the probe must have .matrix = true");
}

TEST_CASE("attention maps: the steps of a decoder are concatenated") {
  Rng rng(4);
  MultiheadAttention layer({.embed_dim = 4, .num_heads = 2, .causal = true}, rng);
  const Tensor x = randn({1, 3, 4}, rng);
  AttentionProbe probe(layer);
  layer(x);
  const std::vector<float> whole = attention_maps(probe, {})[0].weights;
  probe.clear();
  for (std::int64_t t = 0; t < 3; ++t) {
    const Tensor seen = narrow(x, 1, 0, t + 1);
    layer(narrow(x, 1, t, 1), seen, seen, Mask::none());
  }
  const AttentionMap steps = attention_maps(probe, {})[0];
  CHECK(steps.heads == 2);
  CHECK(max_difference(from_data(steps.weights, {2, 3, 3}), from_data(whole, {2, 3, 3})) <= 1e-6);
}
