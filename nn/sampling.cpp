#include <fovea/core/ops/layout.h>
#include <fovea/nn/sampling.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::nn {
namespace {

struct Candidate {
  double p;  // first the logit, then what it becomes
  std::int64_t token;
  bool operator<(const Candidate& other) const {  // likelier first; of equals the earlier
    return p != other.p ? p > other.p : token < other.token;
  }
};

void check_options(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || std::isinf(o.temperature))
    value_error("sample", "temperature {}: it must be 0 or above", o.temperature);
  if (o.top_k < 0) value_error("sample", "top_k {}: it must be 0 (all) or above", o.top_k);
  if (!(o.top_p > 0 && o.top_p <= 1))
    value_error("sample", "top_p {}: it must be above 0 and at most 1", o.top_p);
}

void check_logits(const Tensor& logits) {
  if (logits.rank() != 1 || logits.dim(0) < 1)
    shape_error("sample", "logits {}: they must be (V)", logits.shape().str());
}

[[noreturn]] void refuse_logit(std::int64_t token, double logit) {
  value_error("sample", "the logit of token {} is {}: it must be a number below infinity", token,
              logit);
}

[[noreturn]] void refuse_all(std::int64_t V) {
  value_error("sample", "all {} logits are -inf: no token can be drawn", V);
}

// All tokens that have a chance at all.
std::vector<Candidate> candidates_of(const Tensor& logits) {
  check_logits(logits);
  const std::vector<double> values = logits.to_vector<double>();
  std::vector<Candidate> all;
  all.reserve(values.size());
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (std::isnan(values[v]) || values[v] == HUGE_VAL)
      refuse_logit(static_cast<std::int64_t>(v), values[v]);
    if (values[v] != -HUGE_VAL) all.push_back({values[v], static_cast<std::int64_t>(v)});
  }
  if (all.empty()) refuse_all(logits.dim(0));
  return all;
}

// Softmax over `list`.
void to_probabilities(std::vector<Candidate>& list, double temperature) {
  double largest = list[0].p, sum = 0;
  for (const Candidate& c : list) largest = std::max(largest, c.p);
  for (Candidate& c : list) sum += c.p = std::exp((c.p - largest) / temperature);
  for (Candidate& c : list) c.p /= sum;
}

// The candidates that are left, with probabilities that sum to 1.
std::vector<Candidate> chosen(const Tensor& logits, const SamplingOptions& o) {
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

// The largest logit's token. One pass without copies: small models are waiting for it.
template <class T>
std::int64_t likeliest(const T* logits, std::int64_t V) {
  std::int64_t best = 0;
  for (std::int64_t v = 0; v < V; ++v) {
    if (std::isnan(logits[v]) || logits[v] == std::numeric_limits<T>::infinity())
      refuse_logit(v, static_cast<double>(logits[v]));
    if (logits[v] > logits[best]) best = v;
  }
  if (logits[best] == -std::numeric_limits<T>::infinity()) refuse_all(V);
  return best;
}

}  // namespace

std::vector<double> sampling_probabilities(const Tensor& logits, const SamplingOptions& options) {
  const std::vector<Candidate> list = chosen(logits, options);
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
                   [&]<class T>() { best = likeliest(dense.data<T>(), dense.numel()); });
    return best;
  }
  const std::vector<Candidate> list = chosen(logits, options);
  if (options.temperature == 0) return list[0].token;
  double left = rng.uniform();
  for (const Candidate& c : list) {
    if (left < c.p) return c.token;
    left -= c.p;
  }
  // Rounding can leave a little. The likeliest is never a token without a chance.
  return std::min_element(list.begin(), list.end())->token;
}

Tensor sample_rows(const Tensor& logits, const SamplingOptions& options, Rng& rng) {
  if (logits.rank() != 2)
    shape_error("sample_rows", "logits {}: they must be (B, V)", logits.shape().str());
  std::vector<std::int64_t> tokens;
  for (std::int64_t b = 0; b < logits.dim(0); ++b)
    tokens.push_back(sample(select(logits, 0, b), options, rng));
  return from_data(tokens, {logits.dim(0)});
}

}  // namespace fovea::nn
