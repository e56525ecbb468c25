#include <fovea/core/ops/layout.h>
#include <fovea/nn/sampling.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::nn {
namespace {

struct Candidate {
  double p;  // first the logit, then the probability
  std::int64_t token;
  bool operator<(const Candidate& other) const {  // most likely first; ties by token
    return p != other.p ? p > other.p : token < other.token;
  }
};

void check_options(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || std::isinf(o.temperature))
    value_error("sample", "temperature = {}: must be at least 0 and finite", o.temperature);
  if (o.top_k < 0) value_error("sample", "top_k = {}: must be 0 (all) or above", o.top_k);
  if (!(o.top_p > 0 && o.top_p <= 1))
    value_error("sample", "top_p = {}: must be above 0 and at most 1", o.top_p);
}

void check_logits(const Tensor& logits) {
  if (logits.rank() != 1 || logits.dim(0) < 1)
    shape_error("sample", "logits {}: must be (V)", logits.shape().str());
}

[[noreturn]] void logit_error(std::int64_t token, double logit) {
  value_error("sample", "logit of token {} = {}: must not be NaN or +inf", token, logit);
}

[[noreturn]] void no_finite_logit_error(std::int64_t V) {
  value_error("sample", "all {} logits = -inf: must have at least one finite logit", V);
}

// All tokens with a logit above -inf.
std::vector<Candidate> candidates_of(const Tensor& logits) {
  check_logits(logits);
  const std::vector<double> values = logits.to_vector<double>();
  std::vector<Candidate> all;
  all.reserve(values.size());
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (std::isnan(values[v]) || values[v] == HUGE_VAL)
      logit_error(static_cast<std::int64_t>(v), values[v]);
    if (values[v] != -HUGE_VAL) all.push_back({values[v], static_cast<std::int64_t>(v)});
  }
  if (all.empty()) no_finite_logit_error(logits.dim(0));
  return all;
}

// Softmax over `list`.
void to_probabilities(std::vector<Candidate>& list, double temperature) {
  double largest = list[0].p, sum = 0;
  for (const Candidate& c : list) largest = std::max(largest, c.p);
  for (Candidate& c : list) sum += c.p = std::exp((c.p - largest) / temperature);
  for (Candidate& c : list) c.p /= sum;
}

// The candidates after top-k and top-p, with probabilities that sum to 1.
std::vector<Candidate> sampling_candidates(const Tensor& logits, const SamplingOptions& o) {
  check_options(o);
  std::vector<Candidate> list = candidates_of(logits);
  if (o.temperature == 0) return {{1.0, std::min_element(list.begin(), list.end())->token}};
  const auto k = static_cast<std::size_t>(o.top_k);
  if (k > 0 && k < list.size()) {
    std::partial_sort(list.begin(), list.begin() + o.top_k, list.end());
    list.resize(k);
  }
  to_probabilities(list, o.temperature);
  if (o.top_p == 1) return list;
  std::sort(list.begin(), list.end());
  double sum = 0;
  std::size_t kept = 0;
  while (kept < list.size() && sum < o.top_p) sum += list[kept++].p;
  list.resize(kept);
  for (Candidate& c : list) c.p /= sum;
  return list;
}

// The token of the largest logit. One pass without copies: its time matters for small models.
template <class T>
std::int64_t most_likely(const T* logits, std::int64_t V) {
  std::int64_t best = 0;
  for (std::int64_t v = 0; v < V; ++v) {
    if (std::isnan(logits[v]) || logits[v] == std::numeric_limits<T>::infinity())
      logit_error(v, static_cast<double>(logits[v]));
    if (logits[v] > logits[best]) best = v;
  }
  if (logits[best] == -std::numeric_limits<T>::infinity()) no_finite_logit_error(V);
  return best;
}

}  // namespace

std::vector<double> sampling_probabilities(const Tensor& logits, const SamplingOptions& options) {
  const std::vector<Candidate> list = sampling_candidates(logits, options);
  std::vector<double> all(static_cast<std::size_t>(logits.dim(0)), 0.0);
  for (const Candidate& c : list) all[static_cast<std::size_t>(c.token)] = c.p;
  return all;
}

std::int64_t sample(const Tensor& logits, const SamplingOptions& options, Rng& rng) {
  if (options.temperature == 0 && is_floating(logits.dtype())) {
    check_options(options);
    check_logits(logits);
    const Tensor dense = logits.contiguous();
    std::int64_t best = 0;
    dispatch_float(dense.dtype(), "sample",
                   [&]<class T>() { best = most_likely(dense.data<T>(), dense.numel()); });
    return best;
  }
  const std::vector<Candidate> list = sampling_candidates(logits, options);
  if (options.temperature == 0) return list[0].token;
  double left = rng.uniform();
  for (const Candidate& c : list) {
    if (left < c.p) return c.token;
    left -= c.p;
  }
  // `left` may remain positive by rounding. The most likely token never has probability 0.
  return std::min_element(list.begin(), list.end())->token;
}

Tensor sample_rows(const Tensor& logits, const SamplingOptions& options, Rng& rng) {
  if (logits.rank() != 2)
    shape_error("sample_rows", "logits {}: must be (B, V)", logits.shape().str());
  std::vector<std::int64_t> tokens;
  for (std::int64_t b = 0; b < logits.dim(0); ++b)
    tokens.push_back(sample(select(logits, 0, b), options, rng));
  return from_data(tokens, {logits.dim(0)});
}

}  // namespace fovea::nn
