#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/score.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/init.h>

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

namespace fovea::nn {
namespace {

void check(const AttentionScoreOptions& o) {
  check_sizes("AttentionScore", {{"query_dim", o.query_dim}, {"key_dim", o.key_dim}});
  if (o.score == Score::concat) check_sizes("AttentionScore", {{"attention_dim", o.attention_dim}});
  if ((o.score == Score::dot || o.score == Score::scaled_dot) && o.query_dim != o.key_dim)
    shape_error("AttentionScore", "query_dim = {}, key_dim = {}: must be equal for score '{}'",
                o.query_dim, o.key_dim, score_names()[static_cast<std::size_t>(o.score)]);
}

}  // namespace

const std::vector<std::string>& score_names() {
  static const std::vector<std::string> names{"dot", "scaled-dot", "general", "concat"};
  return names;
}

Score score_from_name(std::string_view name) {
  const auto& names = score_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    value_error("score", "'{}': must be one of {}", name, fmt::join(names, ", "));
  return static_cast<Score>(found - names.begin());  // in the order of the enum
}

AttentionScore::AttentionScore(AttentionScoreOptions o, Rng& rng) : options_(o) {
  check(o);
  if (o.score == Score::general)
    weight = init::uniform_parameter({o.query_dim, o.key_dim}, o.key_dim, rng);
  if (o.score != Score::concat) return;
  const std::int64_t inputs = o.query_dim + o.key_dim;
  weight = init::uniform_parameter({o.attention_dim, inputs}, inputs, rng);
  score = init::uniform_parameter({o.attention_dim}, o.attention_dim, rng);
}

Tensor AttentionScore::project(const Tensor& key) const {
  const Scope in(*this);
  if (options_.score == Score::general) return linear(key, weight);
  if (options_.score != Score::concat) return key;
  return linear(key, narrow(weight, 1, options_.query_dim, options_.key_dim));
}

Tensor AttentionScore::project_query(const Tensor& query) const {
  return linear(query, narrow(weight, 1, 0, options_.query_dim));
}

Tensor AttentionScore::operator()(const Tensor& query, const Tensor& keys) const {
  const Scope in(*this);
  if (options_.score == Score::concat) return additive_scores(project_query(query), keys, score);
  const Tensor products = matmul(query, transpose(keys, 1, 2));  // (B, T, S)
  if (options_.score != Score::scaled_dot) return products;
  return products * (1.0 / std::sqrt(static_cast<double>(options_.query_dim)));
}

void AttentionScore::visit(Visitor& v) {
  v("weight", weight);
  v("score", score);
}

}  // namespace fovea::nn
