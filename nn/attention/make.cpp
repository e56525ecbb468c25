#include <fovea/nn/attention/additive.h>
#include <fovea/nn/attention/coverage.h>
#include <fovea/nn/attention/hard.h>
#include <fovea/nn/attention/linear_attention.h>
#include <fovea/nn/attention/local.h>
#include <fovea/nn/attention/location_aware.h>
#include <fovea/nn/attention/luong.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/attention/multihead_step.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea::nn {
namespace {

using StepPtr = std::unique_ptr<StepAttention>;

template <Score score>
StepPtr luong(const AttentionSizes& n, Rng& rng) {
  return std::make_unique<LuongAttention>(
      LuongAttentionOptions{score, n.query_dim, n.key_dim, n.attention_dim, n.weights}, rng);
}

template <bool predictive>
StepPtr local(const AttentionSizes& n, Rng& rng) {
  return std::make_unique<LocalAttention>(LocalAttentionOptions{.predictive = predictive,
                                                                .window = n.window,
                                                                .query_dim = n.query_dim,
                                                                .key_dim = n.key_dim,
                                                                .attention_dim = n.attention_dim,
                                                                .weights = n.weights},
                                          rng);
}

StepPtr additive(const AttentionSizes& n, Rng& rng) {
  const AdditiveAttentionOptions options{n.query_dim, n.key_dim, n.attention_dim, n.weights};
  if (n.coverage) return std::make_unique<CoverageAttention>(options, rng);
  return std::make_unique<AdditiveAttention>(options, rng);
}

StepPtr location(const AttentionSizes& n, Rng& rng) {
  return std::make_unique<LocationAwareAttention>(
      LocationAwareAttentionOptions{.query_dim = n.query_dim,
                                    .key_dim = n.key_dim,
                                    .attention_dim = n.attention_dim,
                                    .weights = n.weights},
      rng);
}

void check_softmax(std::string_view name, const AttentionSizes& n) {
  if (n.weights != AttentionWeights::softmax)
    value_error("attention", "'{}' with weights '{}': it has weights of its own", name,
                weights_names()[static_cast<std::size_t>(n.weights)]);
}

void check_coverage(std::string_view name, const AttentionSizes& n) {
  if (n.coverage && name != "additive")
    value_error("attention", "'{}' with coverage: 'additive' alone has it", name);
}

StepPtr hard(const AttentionSizes& n, Rng& rng) {
  check_softmax("hard", n);
  return std::make_unique<HardAttention>(
      HardAttentionOptions{.query_dim = n.query_dim, .key_dim = n.key_dim}, rng);
}

StepPtr multihead(const AttentionSizes& n, Rng& rng) {
  return std::make_unique<MultiheadStepAttention>(
      MultiheadStepAttentionOptions{.query_dim = n.query_dim,
                                    .key_dim = n.key_dim,
                                    .value_dim = n.value_dim == 0 ? n.key_dim : n.value_dim,
                                    .attention_dim = n.attention_dim,
                                    .num_heads = n.num_heads,
                                    .weights = n.weights},
      rng);
}

struct Maker {
  const char* name;
  StepPtr (*make)(const AttentionSizes&, Rng&);
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

const std::vector<std::string>& step_attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Maker& maker : makers) all.emplace_back(maker.name);
    return all;
  }();
  return names;
}

const std::vector<std::string>& single_head_attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = step_attention_names();
    std::erase(all, "multihead");
    all.emplace_back("linear");
    return all;
  }();
  return names;
}

StepPtr make_step_attention(std::string_view name, const AttentionSizes& sizes, Rng& rng) {
  const auto* found = std::find_if(std::begin(makers), std::end(makers),
                                   [&](const Maker& m) { return m.name == name; });
  if (found == std::end(makers))
    value_error("attention", "'{}': it must be one of {}", name,
                fmt::join(step_attention_names(), ", "));
  check_coverage(name, sizes);
  return found->make(sizes, rng);
}

std::unique_ptr<Attention> make_attention(std::string_view name, const AttentionSizes& sizes,
                                          Rng& rng) {
  if (name == "linear") {
    check_softmax(name, sizes);
    check_coverage(name, sizes);
    return std::make_unique<LinearAttention>(
        LinearAttentionOptions{sizes.query_dim, sizes.key_dim, sizes.attention_dim}, rng);
  }
  const auto& step = step_attention_names();
  if (std::find(step.begin(), step.end(), name) == step.end())
    value_error("attention", "'{}': it must be one of {}, linear", name, fmt::join(step, ", "));
  return make_step_attention(name, sizes, rng);
}

}  // namespace fovea::nn
