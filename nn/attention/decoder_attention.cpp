#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite_detail.h>
#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/decoder_attention.h>

namespace fovea::nn {
namespace {

void check_sizes(const Tensor& query, const Tensor& key, const Tensor& value) {
  if (query.rank() != 3 || key.rank() != 3 || value.rank() != 3 || query.dim(0) != key.dim(0) ||
      key.dim(0) != value.dim(0) || key.dim(1) != value.dim(1))
    shape_error("attention",
                "query {}, key {}, value {}: must be (B, T, Cq), (B, S, Ck), (B, S, C)",
                query.shape().str(), key.shape().str(), value.shape().str());
}

}  // namespace

Tensor DecoderAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Mask& mask) const {
  return forward_with_weights(query, key, value, mask).context;
}

AttentionOutput DecoderAttention::forward_with_weights(const Tensor& query, const Tensor& key,
                                                       const Tensor& value,
                                                       const Mask& mask) const {
  const Scope in(*this);
  check_sizes(query, key, value);
  AttentionMemory memory;
  if (mask.keeps_all()) {
    memory = {project(key), project_values(value), mask};
  } else {  // keys that no query attends to are set to 0: padding then affects no gradient
    const Tensor kept = mask.to_tensor(query.dim(0), query.dim(1), key.dim(1));
    const Tensor used = unsqueeze(gt(sum(kept, 1), zeros({}, DType::i64)), -1);  // (B or 1, S, 1)
    const Tensor keys = where(used, key, 0.0), values = where(used, value, 0.0);
    if (!detail::all_finite(keys) || !detail::all_finite(values))
      return reported(query_by_query(query, keys, values, kept));
    memory = {project(keys), project_values(values), Mask::keep(kept)};
  }
  std::vector<Tensor> state = initial_state(memory);
  return reported(state.empty() ? step(query, memory, state)
                                : step_by_step(query, memory, std::move(state)));
}

// Runs each query alone, with its masked keys and values set to 0, so that a NaN or infinity does
// not reach queries that mask it, nor their gradients.
AttentionOutput DecoderAttention::query_by_query(const Tensor& query, const Tensor& key,
                                                 const Tensor& value, const Tensor& kept) const {
  std::vector<Tensor> contexts, weights;
  for (std::int64_t b = 0; b < query.dim(0); ++b) {
    const auto row = [&](const Tensor& x) { return narrow(x, 0, x.dim(0) > 1 ? b : 0, 1); };
    std::vector<Tensor> state, row_contexts, row_weights;
    for (std::int64_t t = 0; t < query.dim(1); ++t) {
      const Tensor kept_keys = narrow(row(kept), 1, t, 1);  // (1, 1, S)
      const Tensor kept_rows = transpose(kept_keys, 1, 2);  // (1, S, 1)
      const AttentionMemory memory{project(where(kept_rows, row(key), 0.0)),
                                   project_values(where(kept_rows, row(value), 0.0)),
                                   Mask::keep(kept_keys)};
      if (t == 0) state = initial_state(memory);
      const AttentionOutput one = step(narrow(row(query), 1, t, 1), memory, state);
      row_contexts.push_back(detail::skip_zero_gradient(one.context));  // (1, 1, C)
      row_weights.push_back(detail::skip_zero_gradient(one.weights));   // (1, 1, S), (1, H, 1, S)
    }
    contexts.push_back(concat(row_contexts, 1));
    weights.push_back(concat(row_weights, -2));
  }
  return {concat(contexts, 0), concat(weights, 0)};
}

// Each query is one step, with its own row of the mask.
AttentionOutput DecoderAttention::step_by_step(const Tensor& query, AttentionMemory memory,
                                               std::vector<Tensor> state) const {
  const std::int64_t B = query.dim(0), T = query.dim(1), S = memory.values.dim(1);
  const Mask mask = memory.mask;
  const Tensor kept = mask.keeps_all() ? Tensor() : mask.to_tensor(B, T, S);
  std::vector<Tensor> contexts, weights;
  for (std::int64_t t = 0; t < T; ++t) {
    if (kept.defined()) memory.mask = Mask::keep(narrow(kept, 1, t, 1));
    const AttentionOutput output = step(narrow(query, 1, t, 1), memory, state);
    contexts.push_back(output.context);  // (B, 1, C)
    weights.push_back(output.weights);   // (B, 1, S), or with a head axis (B, H, 1, S)
  }
  if (T == 0)
    return {zeros({B, 0, memory.values.dim(2)}, query.dtype()), zeros({B, 0, S}, query.dtype())};
  return {concat(contexts, 1), concat(weights, -2)};
}

Tensor DecoderAttention::project_keys(const Tensor& key) const {
  const Scope in(*this);
  return project(key);
}

AttentionMemory DecoderAttention::prepare(const Tensor& key, const Tensor& value,
                                          const Mask& mask) const {
  return {project_keys(key), project_values(value), mask};
}

AttentionOutput DecoderAttention::attend(const Tensor& query, const AttentionMemory& memory,
                                         std::vector<Tensor>& state) const {
  const Scope in(*this);
  if (!state.empty() &&
      initial_state(memory).empty())  // mechanisms with a state check it themselves
    state_error("attention", "a state of {} tensors: must be empty, this mechanism has no state",
                state.size());
  return reported(step(query, memory, state));
}

AttentionOutput DecoderAttention::attend(const Tensor& query, const AttentionMemory& memory) const {
  std::vector<Tensor> none;
  return attend(query, memory, none);
}

// Reports the weights of every head to the observers; the returned weights are their mean.
AttentionOutput DecoderAttention::reported(AttentionOutput output) const {
  const bool one_head = output.weights.rank() == 3;
  if (watched()) {
    const NoGrad guard;
    const Tensor weights = without_graph(output.weights);
    const Tensor all = one_head ? unsqueeze(weights, 1) : weights;  // (B, H, T, S)
    report({all.dim(0), all.dim(1), all.dim(2), all.dim(3),
            [all](std::int64_t begin, std::int64_t end) {
              return narrow(all, 2, begin, end - begin);
            }});
  }
  if (!one_head) output.weights = mean(output.weights, 1);  // (B, T, S)
  return output;
}

}  // namespace fovea::nn
