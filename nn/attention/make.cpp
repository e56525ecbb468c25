#include <fovea/nn/attention/additive.h>
#include <fovea/nn/attention/coverage.h>
#include <fovea/nn/attention/hard.h>
#include <fovea/nn/attention/linear_attention.h>
#include <fovea/nn/attention/local.h>
#include <fovea/nn/attention/location_aware.h>
#include <fovea/nn/attention/luong.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/attention/multihead_decoder.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea::nn {
namespace {

using StepPtr = std::unique_ptr<DecoderAttention>;

template <Score score>
StepPtr luong(const AttentionFactoryOptions& n, Rng& rng) {
  return std::make_unique<LuongAttention>(
      LuongAttentionOptions{score, n.query_dim, n.key_dim, n.attention_dim, n.weights}, rng);
}

template <bool predictive>
StepPtr local(const AttentionFactoryOptions& n, Rng& rng) {
  return std::make_unique<LocalAttention>(LocalAttentionOptions{.predictive = predictive,
                                                                .window = n.window,
                                                                .query_dim = n.query_dim,
                                                                .key_dim = n.key_dim,
                                                                .attention_dim = n.attention_dim,
                                                                .weights = n.weights},
                                          rng);
}

StepPtr additive(const AttentionFactoryOptions& n, Rng& rng) {
  const AdditiveAttentionOptions options{n.query_dim, n.key_dim, n.attention_dim, n.weights};
  if (n.coverage) return std::make_unique<CoverageAttention>(options, rng);
  return std::make_unique<AdditiveAttention>(options, rng);
}

StepPtr location(const AttentionFactoryOptions& n, Rng& rng) {
  return std::make_unique<LocationAwareAttention>(
      LocationAwareAttentionOptions{.query_dim = n.query_dim,
                                    .key_dim = n.key_dim,
                                    .attention_dim = n.attention_dim,
                                    .weights = n.weights},
      rng);
}

void check_softmax(std::string_view name, const AttentionFactoryOptions& n) {
  if (n.weights != AttentionNormalizer::softmax)
    value_error("attention", "'{}' with weights '{}': must be softmax for this mechanism", name,
                normalizer_names()[static_cast<std::size_t>(n.weights)]);
}

void check_coverage(std::string_view name, const AttentionFactoryOptions& n) {
  if (n.coverage && name != "additive")
    value_error("attention", "'{}' with coverage: must be 'additive'", name);
}

StepPtr hard(const AttentionFactoryOptions& n, Rng& rng) {
  check_softmax("hard", n);
  return std::make_unique<HardAttention>(
      HardAttentionOptions{.query_dim = n.query_dim, .key_dim = n.key_dim}, rng);
}

StepPtr multihead(const AttentionFactoryOptions& n, Rng& rng) {
  return std::make_unique<MultiheadDecoderAttention>(
      MultiheadDecoderAttentionOptions{.query_dim = n.query_dim,
                                       .key_dim = n.key_dim,
                                       .value_dim = n.value_dim == 0 ? n.key_dim : n.value_dim,
                                       .attention_dim = n.attention_dim,
                                       .num_heads = n.num_heads,
                                       .weights = n.weights},
      rng);
}

struct Maker {
  const char* name;
  StepPtr (*make)(const AttentionFactoryOptions&, Rng&);
};

constexpr Maker makers[] = {{"additive", additive},
                            {"dot", luong<Score::dot>},
                            {"general", luong<Score::general>},
                            {"concat", luong<Score::concat>},
                            {"scaled-dot", luong<Score::scaled_dot>},
                            {"local-m", local<false>},
                            {"local-p", local<true>},
                            {"location", location},
                            {"hard", hard},
                            {"multihead", multihead}};

}  // namespace

const std::vector<std::string>& decoder_attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Maker& maker : makers) all.emplace_back(maker.name);
    return all;
  }();
  return names;
}

const std::vector<std::string>& single_head_attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = decoder_attention_names();
    std::erase(all, "multihead");
    all.emplace_back("linear");
    return all;
  }();
  return names;
}

StepPtr make_decoder_attention(std::string_view name, const AttentionFactoryOptions& sizes,
                               Rng& rng) {
  const auto* found = std::find_if(std::begin(makers), std::end(makers),
                                   [&](const Maker& m) { return m.name == name; });
  if (found == std::end(makers))
    value_error("attention", "'{}': must be one of {}", name,
                fmt::join(decoder_attention_names(), ", "));
  check_coverage(name, sizes);
  return found->make(sizes, rng);
}

std::unique_ptr<Attention> make_attention(std::string_view name,
                                          const AttentionFactoryOptions& sizes, Rng& rng) {
  if (name == "linear") {
    check_softmax(name, sizes);
    check_coverage(name, sizes);
    return std::make_unique<LinearAttention>(
        LinearAttentionOptions{sizes.query_dim, sizes.key_dim, sizes.attention_dim}, rng);
  }
  const auto& step = decoder_attention_names();
  if (std::find(step.begin(), step.end(), name) == step.end())
    value_error("attention", "'{}': must be one of {}, linear", name, fmt::join(step, ", "));
  return make_decoder_attention(name, sizes, rng);
}

}  // namespace fovea::nn
