#include <fovea/fovea.h>

#include <iostream>

using namespace fovea;

int main() {
  Rng rng(1);
  const nn::AdditiveAttention attend({.query_dim = 2, .key_dim = 2, .attention_dim = 8}, rng);
  const Tensor words = unsqueeze(tensor({{1, 0}, {0, 1}, {1, 1}}), 0);  // (B, T, C) = (1, 3, 2)
  const AttentionOutput seen = attend.forward_with_weights(words, words, words, Mask::causal());
  std::cout << "weights: " << seen.weights << "\n";
  sum(square(seen.context)).backward();
  std::cout << "gradient of v: " << attend.score.grad() << "\n";
}
