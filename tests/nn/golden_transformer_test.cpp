// Multi-head attention and the Transformer's layers and stacks against PyTorch's: outputs, and
// gradients of inputs and parameters, after loading what a PyTorch state_dict holds under the same
// names. The cases: tests/golden/transformer_cases.py.
#include <fovea/nn/transformer_layers.h>
#include <fovea/tests/support/golden.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::check_values_and_gradients;
using test::GoldenCase;
using test::load_parameters;

namespace {

Mask lengths_mask(const GoldenCase& golden, const std::string& key) {
  if (!golden.options.contains(key)) return Mask::none();
  return Mask::lengths(golden.options[key].get<std::vector<std::int64_t>>());
}

// x and what else the case has, as leaves that are added to `inputs`.
Tensor leaf(const GoldenCase& golden, const std::string& key, NamedTensors& inputs) {
  if (!golden.has(key)) return {};
  inputs.emplace_back(key, golden.input(key));
  return inputs.back().second;
}

void check_attention(const GoldenCase& golden) {
  const auto& o = golden.options;
  Rng rng(1);
  MultiheadAttention attention({.embed_dim = o["embed_dim"],
                                .num_heads = o["num_heads"],
                                .kdim = o.value("kdim", 0),
                                .vdim = o.value("vdim", 0),
                                .bias = o.value("bias", true),
                                .causal = o["causal"]},
                               rng);
  NamedTensors inputs = load_parameters(golden, attention.parameters());
  const Tensor query = leaf(golden, "query", inputs);
  const Tensor key = leaf(golden, "key", inputs), value = leaf(golden, "value", inputs);
  const Mask mask = lengths_mask(golden, "lengths");
  const Tensor y = key.defined() ? attention(query, key, value, mask) : attention(query, mask);
  check_values_and_gradients(golden, {y}, inputs);
}

TransformerLayerOptions layer_options(const GoldenCase& golden) {
  const auto& o = golden.options;
  return {.d_model = o["d_model"],
          .nhead = o["nhead"],
          .dim_feedforward = o["dim_feedforward"],
          .dropout = 0,
          .activation = o["activation"] == "gelu" ? Activation::gelu : Activation::relu,
          .norm_first = o["norm_first"],
          .layer_norm_eps = o.value("layer_norm_eps", 1e-5),
          .causal = o["causal"]};
}

TransformerStackOptions stack_options(const GoldenCase& golden) {
  return {.layer = layer_options(golden),
          .num_layers = golden.options["num_layers"],
          .final_norm = golden.options["final_norm"]};
}

void check_encoder(const GoldenCase& golden, auto encoder) {
  NamedTensors inputs = load_parameters(golden, encoder.parameters());
  const Tensor x = leaf(golden, "x", inputs);
  check_values_and_gradients(golden, {encoder(x, lengths_mask(golden, "lengths"))}, inputs,
                             golden.options.value("num_layers", 1.0));
}

void check_decoder(const GoldenCase& golden, auto decoder) {
  NamedTensors inputs = load_parameters(golden, decoder.parameters());
  const Tensor x = leaf(golden, "x", inputs), memory = leaf(golden, "memory", inputs);
  const Tensor y =
      decoder(x, memory, lengths_mask(golden, "lengths"), lengths_mask(golden, "memory_lengths"));
  check_values_and_gradients(golden, {y}, inputs, golden.options.value("num_layers", 1.0));
}

}  // namespace

TEST_CASE("golden: attention and the Transformer") {
  Rng rng(1);
  test::check_golden(
      "transformer",
      {{"MultiheadAttention", check_attention},
       {"TransformerEncoderLayer",
        [&](const GoldenCase& g) {
          check_encoder(g, TransformerEncoderLayer(layer_options(g), rng));
        }},
       {"TransformerDecoderLayer",
        [&](const GoldenCase& g) {
          check_decoder(g, TransformerDecoderLayer(layer_options(g), rng));
        }},
       {"TransformerEncoder",
        [&](const GoldenCase& g) { check_encoder(g, TransformerEncoder(stack_options(g), rng)); }},
       {"TransformerDecoder", [&](const GoldenCase& g) {
          check_decoder(g, TransformerDecoder(stack_options(g), rng));
        }}});
}
