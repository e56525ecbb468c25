// What the benchmarks and their twins in other frameworks compute: sizes, start weights and data.
// Both sides make the same numbers from names, so that equal losses show equal work.
// Standard library and C++17 only: the twins are built without fovea.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace workloads {

/// splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
inline std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// FNV-1a: where the numbers that belong to a name begin.
inline std::uint64_t start_of(const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

/// `count` numbers, uniform on a grid of 2^24 in [-bound, bound): exact in float32.
inline std::vector<float> uniform(const std::string& name, std::size_t count, float bound) {
  std::vector<float> numbers(count);
  std::uint64_t counter = start_of(name);
  for (float& number : numbers) {
    const auto grid = static_cast<float>(mix(counter++) >> 40);  // 0 ... 2^24 - 1
    number = bound * (grid * 0x1p-23f - 1);
  }
  return numbers;
}

/// `count` words of a vocabulary; never word 0, which is padding.
inline std::vector<std::int64_t> words(const std::string& name, std::size_t count,
                                       std::int64_t vocab_size) {
  std::vector<std::int64_t> numbers(count);
  std::uint64_t counter = start_of(name);
  for (std::int64_t& number : numbers)
    number = 1 + static_cast<std::int64_t>((mix(counter++) >> 11) %
                                           static_cast<std::uint64_t>(vocab_size - 1));
  return numbers;
}

/// One training step of a translation model: bidirectional GRU, additive attention, Adam.
namespace translate_step {
inline constexpr std::int64_t vocab_size = 8000, embed_dim = 256, hidden = 256;
inline constexpr std::int64_t batch = 64, length = 28;  ///< of both sentences
inline constexpr double learning_rate = 1e-3;
inline constexpr int checked_steps = 5;  ///< losses of these first steps are reported

/// Start values: |weight| < bound, whatever the parameter, but for the two embeddings.
inline constexpr float bound = 1.0f / 16, embedding_bound = 1;
}  // namespace translate_step

/// A chain of small ops, y = tanh(y * c + c)^2 again and again: what a framework costs an op.
namespace chain {
inline constexpr int ops = 1000;
inline constexpr float factor = 0.999f;
}  // namespace chain

/// Scaled dot-product attention, forward and backward.   q, k, v, dy: (B, H, T, D)
namespace sdpa {
inline constexpr std::int64_t B = 4, H = 8, D = 64;
inline constexpr float bound = 2, dy_bound = 1;
inline constexpr std::int64_t window = 256;  ///< keys that a query sees: itself and those before
inline constexpr double dropout = 0.1;

/// The kinds and how long the sequences are. With dropout a (B, H, T, T) tensor that the twin makes
/// is 2 GB at T = 4096: left out.
struct Case {
  const char* kind;
  std::int64_t T;
};
inline constexpr Case cases[] = {
    {"full", 64},    {"full", 256},    {"full", 1024},   {"full", 4096},   {"causal", 64},
    {"causal", 256}, {"causal", 1024}, {"causal", 4096}, {"window", 1024}, {"window", 4096},
    {"dropout", 64}, {"dropout", 256}, {"dropout", 1024}};
}  // namespace sdpa

/// Learning exclusive-or with 2 inputs, 8 tanh units, 1 output, all four examples a step.
namespace xor_step {
inline constexpr std::int64_t inputs = 2, hidden = 8, batch = 4;
inline constexpr double sgd_learning_rate = 0.1, adam_learning_rate = 0.01;
inline constexpr int checked_steps = 100;  ///< the loss after them is reported
inline constexpr float bound = 0.7f;
inline constexpr float examples[] = {0, 0, 0, 1, 1, 0, 1, 1}, answers[] = {0, 1, 1, 0};
}  // namespace xor_step

}  // namespace workloads
