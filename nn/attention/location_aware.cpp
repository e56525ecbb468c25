#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/location_aware.h>
#include <fovea/nn/init.h>

namespace fovea::nn {
namespace {

const LocationAwareAttentionOptions& checked(const LocationAwareAttentionOptions& o) {
  check_widths("LocationAwareAttention", o.query_dim, o.key_dim, o.attention_dim);
  check_sizes("LocationAwareAttention", {{"filters", o.filters}});
  check_sizes("LocationAwareAttention", {{"radius", o.radius}}, 0);
  return o;
}

}  // namespace

LocationAwareAttention::LocationAwareAttention(LocationAwareAttentionOptions o, Rng& rng)
    : radius_(checked(o).radius),
      weights_(o.weights),
      query_proj({.in_features = o.query_dim, .out_features = o.attention_dim, .bias = false}, rng),
      key_proj({.in_features = o.key_dim, .out_features = o.attention_dim}, rng),
      location_conv(init::uniform_parameter({o.filters, 2 * o.radius + 1}, 2 * o.radius + 1, rng)),
      location_proj({.in_features = o.filters, .out_features = o.attention_dim, .bias = false},
                    rng),
      score(init::uniform_parameter({o.attention_dim}, o.attention_dim, rng)) {}

Tensor LocationAwareAttention::project(const Tensor& key) const { return key_proj(key); }

std::vector<Tensor> LocationAwareAttention::initial_state(const AttentionMemory& memory) const {
  return {zeros({memory.values.dim(0), memory.values.dim(1)}, memory.values.dtype())};
}

// The neighborhood of each position as a row, times the filters.
Tensor LocationAwareAttention::location_features(const Tensor& weights) const {
  const std::int64_t S = weights.dim(1), width = 2 * radius_ + 1;
  const Tensor padded = pad(weights, {radius_, radius_});  // (N, S + 2r)
  std::vector<Tensor> shifted;
  for (std::int64_t j = 0; j < width; ++j) shifted.push_back(narrow(padded, 1, j, S));
  return linear(stack(shifted, 2), location_conv);  // (N, S, 2r + 1) -> (N, S, k)
}

AttentionOutput LocationAwareAttention::step(const Tensor& query, const AttentionMemory& memory,
                                             std::vector<Tensor>& state) const {
  const std::int64_t B = query.dim(0), K = query.dim(1), S = memory.values.dim(1);
  if (state.size() != 1 || !(state[0].shape() == Shape{B * K, S}))
    state_error("LocationAwareAttention", "state: must be the last weights, ({}, {})", B * K, S);
  const Tensor location = location_proj(location_features(state[0]));  // (B K, S, A)
  const AttentionOutput output =
      additive_attend(query_proj(query), memory, location, score, weights_);
  state[0] = reshape(output.weights, {B * K, S});
  return output;
}

void LocationAwareAttention::visit(Visitor& v) {
  v("query_proj", query_proj);
  v("key_proj", key_proj);
  v("location_conv", location_conv);
  v("location_proj", location_proj);
  v("score", score);
}

}  // namespace fovea::nn
