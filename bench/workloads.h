// The workloads of the benchmarks and of their peers in other frameworks: sizes, initial weights
// and data. Both sides generate the same values from names, so that equal losses prove equal work.
// Standard library and C++17 only: the peers are built without fovea.
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

/// FNV-1a: start of the random sequence of a name.
inline std::uint64_t start_of(const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

/// `count` values, uniform on a grid of 2^24 points in [-bound, bound): exact in float32.
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

/// `count` lengths, uniform from `shortest` to `longest`; the first is the longest.
inline std::vector<std::int64_t> lengths(const std::string& name, std::size_t count,
                                         std::int64_t shortest, std::int64_t longest) {
  std::vector<std::int64_t> numbers(count);
  std::uint64_t counter = start_of(name);
  for (std::int64_t& number : numbers)
    number =
        shortest + static_cast<std::int64_t>((mix(counter++) >> 11) %
                                             static_cast<std::uint64_t>(longest - shortest + 1));
  numbers[0] = longest;
  return numbers;
}

/// Initial values of a parameter: uniform in [-bound, bound), plus 1 for the weight of a norm.
inline std::vector<float> start_values(const std::string& name, std::size_t count, float bound) {
  std::vector<float> numbers = uniform(name, count, bound);
  if (name.find("norm") != std::string::npos && name.find("weight") != std::string::npos)
    for (float& number : numbers) number += 1;
  return numbers;
}

/// One training step of a translation model: bidirectional GRU, additive attention, Adam.
namespace translate_step {
inline constexpr std::int64_t vocab_size = 8000, embed_dim = 256, hidden = 256;
inline constexpr std::int64_t batch = 64, length = 28;  ///< of source and target
inline constexpr double learning_rate = 1e-3;
inline constexpr int checked_steps = 5;  ///< the losses of these first steps are reported

/// Initial values: |weight| < bound for all parameters except the two embeddings.
inline constexpr float bound = 1.0f / 16, embedding_bound = 1;

/// The matrix products, forward and twice as many in backward, in 1e9 operations.
inline double gflop() {
  constexpr std::int64_t E = embed_dim, H = hidden, tokens = batch * length;
  constexpr std::int64_t encoder = 2 * 2 * 3 * H * (E + H), keys = 2 * 2 * H * H;
  constexpr std::int64_t decoder = 2 * 3 * H * (E + 3 * H), query = 2 * H * H;
  constexpr std::int64_t attention = length * (2 * H + 4 * H);  // scores, and the contexts
  constexpr std::int64_t read_out = 2 * (E + 3 * H) * H + 2 * H * vocab_size;
  return 3e-9 *
         static_cast<double>(tokens * (encoder + keys + decoder + query + attention + read_out));
}
}  // namespace translate_step

/// A chain of small ops, repeated y = tanh(y * c + c)^2: the overhead of a framework per op.
namespace chain {
inline constexpr int ops = 1000;
inline constexpr float factor = 0.999f;
}  // namespace chain

/// Scaled dot-product attention, forward and backward.   q, k, v, dy: (B, H, T, D)
namespace sdpa {
inline constexpr std::int64_t B = 4, H = 8, D = 64;
inline constexpr float bound = 2, dy_bound = 1;
inline constexpr std::int64_t window = 256;  ///< keys visible to a query: itself and those before
inline constexpr double dropout = 0.1;

/// Kinds and sequence lengths. `ragged`: only the first key_lengths() keys of each sequence are
/// attended. Dropout at T = 4096 is omitted: the peer would allocate a (B, H, T, T) tensor of 2 GB.
struct Case {
  const char* kind;
  std::int64_t T;
};
inline constexpr Case cases[] = {
    {"full", 64},    {"full", 256},    {"full", 1024},    {"full", 4096},   {"causal", 64},
    {"causal", 256}, {"causal", 1024}, {"causal", 4096},  {"window", 1024}, {"window", 4096},
    {"dropout", 64}, {"dropout", 256}, {"dropout", 1024}, {"ragged", 1024}};

/// Uniform from 1 to T, one per quarter of the range, so that the mean of the four is about T / 2.
inline std::vector<std::int64_t> key_lengths(std::int64_t T) {
  std::vector<std::int64_t> found;
  for (std::int64_t b = 0; b < B; ++b)
    found.push_back(1 + b * T / B +
                    static_cast<std::int64_t>(
                        (mix(start_of("key_lengths") + static_cast<std::uint64_t>(b)) >> 11) %
                        static_cast<std::uint64_t>(T / B)));
  return found;
}

/// Two matrix products in forward and five in backward (the scores are recomputed) over the
/// attended pairs of query and key, in 1e9 operations.
inline double gflop(const Case& c) {
  const std::string kind = c.kind;
  std::int64_t pairs = B * c.T * c.T;
  if (kind == "causal" || kind == "window") {
    pairs = 0;
    for (std::int64_t t = 1; t <= c.T; ++t)
      pairs += B * (kind == "window" && t > window ? window : t);
  }
  if (kind == "ragged") {
    pairs = 0;
    for (const std::int64_t length : key_lengths(c.T)) pairs += c.T * length;
  }
  return 7 * 2e-9 * static_cast<double>(H * D * pairs);
}
}  // namespace sdpa

/// A recurrent layer, forward and backward, with the gradients of its input and of every weight.
/// The sequences of a batch are packed.    x: (rows, I)  states, dy: (rows, H)
namespace recurrent {
inline constexpr float bound = 1.0f / 16, x_bound = 1, dy_bound = 1;  ///< bound: for the weights

struct Net {
  const char* name;
  std::int64_t gates;  ///< G
};
inline constexpr Net lstm{"lstm", 4}, gru{"gru", 3}, rnn{"rnn", 1};

struct Case {
  const char* name;
  std::int64_t B, T, I, H;
  bool ragged;  ///< lengths from 1 to T instead of T for all
};
inline constexpr Case cases[] = {{"B64xT64", 64, 64, 256, 256, false},
                                 {"B16xT256", 16, 256, 128, 128, false},
                                 {"B1xT512", 1, 512, 128, 128, false},
                                 {"ragged", 64, 100, 256, 256, true}};

inline std::vector<std::int64_t> lengths(const Case& c) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(c.B), c.T);
  std::uint64_t counter = start_of("lengths");
  for (std::int64_t& length : all)
    if (c.ragged)
      length =
          1 + static_cast<std::int64_t>((mix(counter++) >> 11) % static_cast<std::uint64_t>(c.T));
  return all;
}

/// The number of tokens without padding.
inline std::int64_t rows(const Case& c) {
  std::int64_t sum = 0;
  for (const std::int64_t length : lengths(c)) sum += length;
  return sum;
}

/// The matrix products without padding, forward and twice as many in backward, in 1e9 operations.
inline double gflop(const Net& net, const Case& c) {
  return 3 * 2e-9 * static_cast<double>(rows(c) * net.gates * c.H * (c.I + c.H));
}

inline std::string name_of(const Net& net, const Case& c) {
  return "recurrent/" + std::string(net.name) + "/" + c.name;
}
}  // namespace recurrent

/// Multi-head self-attention, forward and backward, with the gradients of its input and of every
/// weight; with and without the mean of the attention weights over the heads.    x, dy: (B, T, C)
namespace mha {
inline constexpr std::int64_t B = 16, C = 256, H = 8;
inline constexpr std::int64_t lengths[] = {32, 128, 512};  ///< T
inline constexpr float bound = 1.0f / 16, x_bound = 2, dy_bound = 1;

/// The four projections, and attention with recomputed scores, in 1e9 operations. The mean of the
/// weights is not counted.
inline double gflop(std::int64_t T) {
  return 1e-9 * static_cast<double>(3 * 8 * B * T * C * C + 14 * B * T * T * C);
}

inline std::string name_of(bool weights, std::int64_t T) {
  return std::string("mha/") + (weights ? "weights/" : "plain/") + std::to_string(T);
}
}  // namespace mha

/// A training step of the Transformer: encoder-decoder, post-norm, label smoothing, AdamW.
namespace transformer_step {
inline constexpr std::int64_t V = 8000, C = 256, H = 4, F = 1024;
inline constexpr std::int64_t layers = 3;  ///< of the encoder, and of the decoder
inline constexpr std::int64_t B = 64, T = 28, shortest = 12;
inline constexpr double dropout = 0.1, smoothing = 0.1, eps = 1e-5;
inline constexpr double learning_rate = 1e-3, weight_decay = 1e-2;
inline constexpr float bound = 1.0f / 16;
/// The losses of these first steps are reported. They are computed without dropout, whose random
/// bits differ between libraries; the timed steps use dropout.
inline constexpr int checked_steps = 3;

inline std::vector<std::int64_t> lengths(const char* name, bool ragged) {
  return workloads::lengths(name, static_cast<std::size_t>(B), ragged ? shortest : T, T);
}
inline std::vector<std::int64_t> source_lengths(bool ragged) {
  return lengths("source_lengths", ragged);
}
inline std::vector<std::int64_t> target_lengths(bool ragged) {
  return lengths("target_lengths", ragged);
}

/// Without padding, in 1e9 operations: each product three times (one in forward, two in backward),
/// attention with two products in forward and five in backward.
inline double gflop(bool ragged) {
  const auto sources = source_lengths(ragged), targets = target_lengths(ragged);
  double products = 0, attention = 0;
  for (std::size_t b = 0; b < sources.size(); ++b) {
    const auto s = static_cast<double>(sources[b]), t = static_cast<double>(targets[b]);
    products +=
        layers * (s * (8 * C * C + 4 * C * F) + t * (12 * C * C + 4 * C * F) + s * 4 * C * C) +
        t * 2 * C * V;
    attention += layers * 4 * C * (s * s + t * t / 2 + s * t);
  }
  return 1e-9 * (3 * products + 3.5 * attention);
}

inline std::string name_of(bool ragged) {
  return std::string("transformer_step/") + (ragged ? "ragged" : "full");
}
}  // namespace transformer_step

/// A language model of bytes: pre-norm, GELU (exact), learned positions, output matrix tied to the
/// embedding, no dropout.
namespace gpt {
inline constexpr std::int64_t V = 256, C = 128, H = 4, F = 4 * C, layers = 4;
inline constexpr double eps = 1e-5;
inline constexpr float bound = 1.0f / 16;

/// Training steps, AdamW.
struct Case {
  std::int64_t B, T;
};
inline constexpr Case cases[] = {{8, 256}, {12, 64}};
inline constexpr double learning_rate = 1e-3, weight_decay = 0.1;
inline constexpr int checked_steps = 3;  ///< the losses of these first steps are reported

inline double gflop(const Case& c) {
  const std::int64_t products = 3 * c.B * c.T * (layers * 24 * C * C + 2 * C * V);
  return 1e-9 * static_cast<double>(products + 7 * layers * c.B * c.T * c.T * C);
}
inline std::string name_of(const Case& c) {
  return "gpt_step/B" + std::to_string(c.B) + "xT" + std::to_string(c.T);
}

/// Greedy decoding of one text with a key-value cache: the first token is 0.
inline constexpr std::int64_t new_tokens = 256;
inline constexpr const char* decode_name = "decode/256";

/// A checksum that depends on tokens and their order.
inline double digest(const std::vector<std::int64_t>& tokens) {
  double sum = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    sum += static_cast<double>(i + 1) * static_cast<double>(tokens[i]);
  return sum;
}

inline double decode_gflop() {
  return 1e-9 *
         static_cast<double>(new_tokens * (layers * (24 * C * C + 2 * new_tokens * C) + 2 * C * V));
}
}  // namespace gpt

/// A square matrix product: the reference speed for the percentages of bench/compare.
namespace sgemm {
inline constexpr std::int64_t size = 1024;
inline constexpr double gflop = 2e-9 * size * size * size;
}  // namespace sgemm

/// Training of XOR with 2 inputs, 8 tanh units, 1 output, all four examples per step.
namespace xor_step {
inline constexpr std::int64_t inputs = 2, hidden = 8, batch = 4;
inline constexpr double sgd_learning_rate = 0.1, adam_learning_rate = 0.01;
inline constexpr int checked_steps = 100;  ///< the loss after them is reported
inline constexpr float bound = 0.7f;
inline constexpr float examples[] = {0, 0, 0, 1, 1, 0, 1, 1}, answers[] = {0, 1, 1, 0};
}  // namespace xor_step

}  // namespace workloads
