#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/attention/alignment.h>

#include <algorithm>

namespace fovea::nn {

Tensor coverage_loss(const Tensor& weights, const std::vector<std::int64_t>& lengths) {
  if (weights.rank() != 3 || weights.dim(0) != static_cast<std::int64_t>(lengths.size()))
    shape_error("coverage_loss", "weights {} and {} lengths: must be (B, T, S) and B",
                weights.shape().str(), lengths.size());
  const RaggedIndex index(lengths);
  if (index.max_length() > weights.dim(1))
    shape_error("coverage_loss", "weights {} and a length of {}: must be at most T",
                weights.shape().str(), index.max_length());
  const Tensor before = cumsum(weights, 1) - weights;      // (B, T, S)
  const Tensor again = sum(minimum(weights, before), -1);  // (B, T)
  const auto steps = static_cast<double>(std::max<std::int64_t>(1, index.total()));
  return sum(pack(again, index).values) / steps;
}

Tensor guided_alignment_loss(const Tensor& weights, const Tensor& links) {
  if (weights.rank() != 3 || !(weights.shape() == links.shape()))
    shape_error("guided_alignment_loss", "weights {}, links {}: must be equal, (B, T, S)",
                weights.shape().str(), links.shape().str());
  constexpr double epsilon = 1e-7;
  const Tensor constant_links = without_graph(links).to(weights.dtype());
  const Tensor total = sum(constant_links, -1, true);              // (B, T, 1)
  const Tensor linked = gt(total, 0.0);                            // (B, T, 1)
  const Tensor rows = constant_links / where(linked, total, 1.0);  // sum to 1 or 0
  const Tensor costs = log(where(linked, weights, 1.0) + epsilon);
  const auto steps = sum(linked).item<std::int64_t>();
  return sum(rows * costs) / -static_cast<double>(std::max<std::int64_t>(1, steps));
}

}  // namespace fovea::nn
