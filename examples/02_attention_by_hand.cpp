// softmax(Q K^T / sqrt(d)) V for a sentence of four words, with every matrix printed.
//
//   02_attention_by_hand            result: the weight of "sat" for "cat" is 0.91
//   02_attention_by_hand --causal   words attend only to themselves and earlier words
//   02_attention_by_hand --smoke    checks these results; run by ctest
//
// Read after 01_gradients. New here: matmul, Mask, masked softmax. T words, D features.
// The paper: Vaswani et al. 2017, Attention Is All You Need, section 3.2.1.
#include <fovea/core/mask.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/examples/support/program.h>

#include <cmath>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

using namespace fovea;

namespace {

const std::vector<std::string> words{"the", "cat", "sat", "down"};

void show(const std::string& what, const Tensor& matrix) {
  std::cout << what << '\n' << matrix << "\n\n";
}

int run(bool causal) {
  // Three features per word, chosen by hand: is a noun, is a verb, is a function word.
  const Tensor x = tensor({{0, 0, 1},      // the
                           {1, 0, 0},      // cat
                           {0, 1, 0},      // sat
                           {0, 0.5, 1}});  // down                              (T, D)
  // The queries of verbs match the keys of nouns. The value of a word is its features.
  const Tensor w_q = tensor({{0, 0, 0}, {3, 0, 0}, {0, 0, 1}});  // (D, D)
  const Tensor w_k = tensor({{2, 0, 0}, {0, 1, 0}, {0, 0, 1}});  // (D, D)
  const Tensor q = matmul(x, w_q), k = matmul(x, w_k), v = x;    // (T, D)
  show("x: one row per word", x);
  show("Q = x W_q: queries", q);
  show("K = x W_k: keys", k);

  const Tensor scores = matmul(q, transpose(k, 0, 1)) / std::sqrt(3.0);  // (T, T)
  show("scores = Q K^T / sqrt(3)", scores);

  const Mask mask = causal ? Mask::causal() : Mask::none();
  std::cout << "mask, # is attended\n" << mask.describe(1, 4, 4) << '\n';
  const Tensor weights = masked_softmax(scores, mask);  // rows sum to 1
  show("weights = softmax(scores) over the attended words", weights);
  show("output = weights V", matmul(weights, v));

  const float* sat = weights.data<float>() + 2 * 4;
  std::cout << "weights of \"sat\":";
  for (std::size_t s = 0; s < words.size(); ++s)
    std::cout << fmt::format("  {} {:.2f}", words[s], sat[s]);
  std::cout << '\n';
  const bool cat_is_largest = sat[1] > sat[0] && sat[1] > sat[2] && sat[1] > sat[3];
  const bool hidden = !causal || sat[3] == 0.0f;
  return cat_is_largest && hidden ? 0 : 1;
}

int parse_and_run(int argc, char** argv) {
  bool causal = false, smoke = false;
  CLI::App app{
      "Scaled dot-product attention step by step for \"the cat sat down\", with all matrices "
      "printed."};
  app.add_flag("--causal", causal, "words attend only to themselves and earlier words");
  app.add_flag("--smoke", smoke,
               "run with and without --causal; exit with 1 if the weights are wrong");
  CLI11_PARSE(app, argc, argv);
  return smoke ? run(false) | run(true) : run(causal);
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("02_attention_by_hand", [&] { return parse_and_run(argc, argv); });
}
