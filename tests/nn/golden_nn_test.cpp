// Modules against PyTorch's: outputs, and gradients of inputs and parameters, after loading what a
// PyTorch state_dict holds under the same names. The cases: tests/golden/nn_cases.py.
#include <fovea/nn/embedding.h>
#include <fovea/nn/norm.h>
#include <fovea/nn/recurrent.h>
#include <fovea/tests/support/golden.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using test::check_values_and_gradients;
using test::GoldenCase;
using test::load_parameters;

namespace {

void check_gru(const GoldenCase& golden) {
  const auto& o = golden.options;
  Rng rng(1);
  nn::GRU gru({.input_size = o["input_size"],
               .hidden_size = o["hidden_size"],
               .num_layers = o["num_layers"],
               .bias = o.value("bias", true),
               .bidirectional = o["bidirectional"]},
              rng);
  NamedTensors inputs = load_parameters(golden, gru.parameters());
  const Tensor x = golden.input("x");  // (B, T, I)
  const Tensor h0 = golden.has("h0") ? golden.input("h0") : Tensor();
  inputs.emplace_back("x", x);
  inputs.emplace_back("h0", h0);
  const RaggedIndex index = golden.has("lengths")
                                ? RaggedIndex(golden["lengths"].to_vector<std::int64_t>())
                                : RaggedIndex::equal(x.dim(0), x.dim(1));
  const nn::GRU::Output y = gru(pack(x, index), h0);
  check_values_and_gradients(golden, {pad(y.states), y.last}, inputs);
}

void check_lstm(const GoldenCase& golden) {
  const auto& o = golden.options;
  Rng rng(1);
  nn::LSTM lstm({.input_size = o["input_size"],
                 .hidden_size = o["hidden_size"],
                 .num_layers = o["num_layers"],
                 .bidirectional = o["bidirectional"]},
                rng);
  NamedTensors inputs = load_parameters(golden, lstm.parameters());
  const Tensor x = golden.input("x"), h0 = golden.input("h0"), c0 = golden.input("c0");
  for (const auto& [name, value] : {std::pair{"x", x}, {"h0", h0}, {"c0", c0}})
    inputs.emplace_back(name, value);
  const RaggedIndex index(golden["lengths"].to_vector<std::int64_t>());
  const nn::LSTM::Output y = lstm(pack(x, index), h0, c0);
  check_values_and_gradients(golden, {pad(y.states), y.last, y.last_cell}, inputs);
}

void check_gru_cell(const GoldenCase& golden) {
  const auto& o = golden.options;
  Rng rng(1);
  nn::GRUCell cell({.input_size = o["input_size"], .hidden_size = o["hidden_size"]}, rng);
  NamedTensors inputs = load_parameters(golden, cell.parameters());
  const Tensor x = golden.input("x"), h0 = golden.input("h0");
  inputs.emplace_back("x", x);
  inputs.emplace_back("h0", h0);
  check_values_and_gradients(golden, {cell(x, h0)}, inputs);
}

void check_layer_norm(const GoldenCase& golden) {
  nn::LayerNorm norm(golden.options["normalized_shape"][0], golden.options["eps"]);
  NamedTensors inputs = load_parameters(golden, norm.parameters());
  const Tensor x = golden.input("x");
  inputs.emplace_back("x", x);
  check_values_and_gradients(golden, {norm(x)}, inputs);
}

void check_embedding(const GoldenCase& golden) {
  const auto& o = golden.options;
  Rng rng(1);
  nn::Embedding embedding({.num_embeddings = o["num_embeddings"],
                           .embedding_dim = o["embedding_dim"],
                           .padding_idx = o.value("padding_idx", -1)},
                          rng);
  const NamedTensors inputs = load_parameters(golden, embedding.parameters());
  check_values_and_gradients(golden, {embedding(golden["x"])}, inputs);
}

}  // namespace

TEST_CASE("golden: modules") {
  test::check_golden("modules", {{"GRU", check_gru},
                                 {"LSTM", check_lstm},
                                 {"GRUCell", check_gru_cell},
                                 {"LayerNorm", check_layer_norm},
                                 {"Embedding", check_embedding}});
}
