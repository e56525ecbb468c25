// All mechanisms of one head under one roof, for tests of what they have in common.
#pragma once

#include <fovea/core/autograd.h>
#include <fovea/core/random.h>
#include <fovea/nn/attention/make.h>
#include <fovea/tests/nn/parameters.h>

#include <memory>
#include <string>
#include <vector>

namespace fovea::test {

struct Mechanism {
  std::string label, name;
  nn::AttentionWeights weights = nn::AttentionWeights::softmax;

  bool is(std::string_view other) const { return name == other; }
  /// Keys are told apart by their places, so their order matters.
  bool has_places() const { return is("local-m") || is("local-p") || is("location"); }
  /// Only masks that keep all keys up to an end.
  bool needs_prefixes() const { return is("linear"); }
  /// A query's weights depend on the queries before it.
  bool has_memory() const { return is("location"); }

  /// Cq = Ck = 4, A = 5, D = 2, in f64.
  std::unique_ptr<nn::Attention> make(Rng& rng) const {
    auto made = nn::make_attention(
        name, {.query_dim = 4, .key_dim = 4, .attention_dim = 5, .weights = weights, .window = 2},
        rng);
    to_f64(*made);
    return made;
  }
};

inline std::vector<Mechanism> family() {
  std::vector<Mechanism> all;
  for (const std::string& name : nn::single_head_attention_names()) all.push_back({name, name});
  for (const char* name :
       {"additive", "dot", "general", "concat", "local-m", "local-p", "location"})
    for (const auto kind : {nn::AttentionWeights::sparsemax, nn::AttentionWeights::entmax15})
      all.push_back({std::string(name) + "+" + nn::weights_names()[static_cast<std::size_t>(kind)],
                     name, kind});
  return all;
}

/// What a probe would see: the weights of the last call, (B, T, S).
class LastWeights : public nn::AttentionObserver {
 public:
  explicit LastWeights(nn::Attention& layer) : layer_(layer) { layer_.watch(*this); }
  ~LastWeights() override { layer_.unwatch(*this); }
  LastWeights(const LastWeights&) = delete;
  LastWeights& operator=(const LastWeights&) = delete;
  void see(const nn::Attention&, const nn::AttentionCall& call) override {
    calls += 1;
    last = call.rows(0, call.T);
    heads = call.H;
  }

  Tensor last;  ///< (B, H, T, S)
  std::int64_t heads = 0;
  int calls = 0;

 private:
  nn::Attention& layer_;
};

}  // namespace fovea::test
