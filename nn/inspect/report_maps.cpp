// Attention maps of reports, from the recorded calls of a probe.
#include <fovea/core/error.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/inspect/report.h>

#include <algorithm>

namespace fovea::nn::inspect {
namespace {

struct Sizes {
  std::int64_t heads = 0, queries = 0, keys = 0;
};

// The total size of all calls of a layer.
Sizes sizes_of(const ProbedLayer& layer, std::int64_t batch_row) {
  const std::string name = layer.name.empty() ? "the model" : layer.name;
  Sizes sizes;
  for (const ProbedCall& call : layer.calls) {
    if (!call.matrix.defined())
      state_error("attention_maps", "{}: no matrix recorded: the probe must have .matrix = true",
                  name);
    if (batch_row < 0 || batch_row >= call.B)
      index_error("attention_maps", "{}: batch_row = {}: must be below {}", name, batch_row,
                  call.B);
    sizes.heads = call.H;
    sizes.queries += call.T;
    sizes.keys = std::max(sizes.keys, call.S);
  }
  return sizes;
}

}  // namespace

std::vector<AttentionMap> attention_maps(const AttentionProbe& probe, const ProbedMaps& maps) {
  std::vector<AttentionMap> list;
  for (const ProbedLayer& layer : probe.layers()) {
    if (layer.calls.empty()) continue;
    const auto [heads, queries, keys] = sizes_of(layer, maps.batch_row);
    AttentionMap& map =
        list.emplace_back(AttentionMap{.layer = layer.name.empty() ? maps.mechanism : layer.name,
                                       .mechanism = maps.mechanism,
                                       .kind = maps.kind,
                                       .queries = maps.queries,
                                       .keys = maps.keys,
                                       .heads = heads});
    map.weights = checked_vector<float>(
        "report", "weights", checked_mul("report", checked_mul("report", heads, queries), keys));
    std::int64_t first = 0;  // first query of the call
    for (const ProbedCall& call : layer.calls) {
      const std::vector<float> weights = call.matrix.to_vector<float>();  // (B, H, T, S)
      for (std::int64_t h = 0; h < heads; ++h)
        for (std::int64_t t = 0; t < call.T; ++t)
          std::copy_n(weights.data() + ((maps.batch_row * heads + h) * call.T + t) * call.S, call.S,
                      map.weights.data() + (h * queries + first + t) * keys);
      first += call.T;
    }
  }
  return list;
}

}  // namespace fovea::nn::inspect
