// All mechanisms with a common interface, for tests of their common properties.
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
  nn::AttentionNormalizer weights = nn::AttentionNormalizer::softmax;
  bool coverage = false;

  bool is(std::string_view other) const { return name == other; }
  /// The weights depend on the positions of the keys, so their order matters.
  bool has_places() const { return is("local-m") || is("local-p") || is("location"); }
  /// The output is a weighted sum of the values without projections.
  bool mixes_values() const { return !is("multihead"); }
  std::int64_t heads() const { return is("multihead") ? 2 : 1; }
  /// Supports only masks that keep a prefix of the keys.
  bool needs_prefixes() const { return is("linear"); }
  /// A query's weights depend on the queries before it.
  bool has_memory() const { return is("location") || coverage; }

  /// Cq = Ck = 4, C = 3, A = 6, D = 2, in f64.
  std::unique_ptr<nn::Attention> make(Rng& rng) const {
    auto made = nn::make_attention(name,
                                   {.query_dim = 4,
                                    .key_dim = 4,
                                    .attention_dim = 6,
                                    .weights = weights,
                                    .window = 2,
                                    .num_heads = heads(),
                                    .value_dim = 3,
                                    .coverage = coverage},
                                   rng);
    to_f64(*made);
    return made;
  }
};

inline std::vector<Mechanism> family() {
  std::vector<Mechanism> all;
  for (const std::string& name : nn::single_head_attention_names()) all.push_back({name, name});
  all.push_back({"multihead", "multihead"});
  all.push_back({"additive with coverage", "additive", nn::AttentionNormalizer::softmax, true});
  all.push_back(
      {"additive with coverage+entmax15", "additive", nn::AttentionNormalizer::entmax15, true});
  for (const char* name :
       {"additive", "dot", "general", "concat", "local-m", "local-p", "location", "multihead"})
    for (const auto kind : {nn::AttentionNormalizer::sparsemax, nn::AttentionNormalizer::entmax15})
      all.push_back(
          {std::string(name) + "+" + nn::normalizer_names()[static_cast<std::size_t>(kind)], name,
           kind});
  return all;
}

/// An observer that stores the weights of the last call, (B, T, S).
class LastWeights : public nn::AttentionObserver {
 public:
  explicit LastWeights(nn::Attention& layer) : layer_(layer) { layer_.watch(*this); }
  ~LastWeights() override { layer_.unwatch(*this); }
  LastWeights(const LastWeights&) = delete;
  LastWeights& operator=(const LastWeights&) = delete;
  void on_attention(const nn::Attention&, const nn::AttentionCall& call) override {
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
