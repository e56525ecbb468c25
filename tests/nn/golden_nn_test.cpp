// Modules against PyTorch's: outputs, and gradients of inputs and parameters, after loading what a
// PyTorch state_dict holds under the same names. The cases: tests/golden/nn_cases.py.
#include <fovea/nn/embedding.h>
#include <fovea/nn/norm.h>
#include <fovea/tests/support/golden.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using test::check_values_and_gradients;
using test::GoldenCase;
using test::load_parameters;

namespace {

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
  test::check_golden("modules", {{"LayerNorm", check_layer_norm}, {"Embedding", check_embedding}});
}
