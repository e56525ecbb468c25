#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/finite.h>
#include <fovea/core/ops/kept_products.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/step.h>

namespace fovea::nn {
namespace {

void check_sizes(const Tensor& query, const Tensor& key, const Tensor& value) {
  if (query.rank() != 3 || key.rank() != 3 || value.rank() != 3 || query.dim(0) != key.dim(0) ||
      key.dim(0) != value.dim(0) || key.dim(1) != value.dim(1))
    shape_error("attention",
                "query {}, key {}, value {}: they must be (B, T, Cq), (B, S, Ck), (B, S, C)",
                query.shape().str(), key.shape().str(), value.shape().str());
}

}  // namespace

Tensor StepAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                 const Mask& mask) const {
  return look(query, key, value, mask).context;
}

AttentionOutput StepAttention::look(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Mask& mask) const {
  const Scope in(*this);
  check_sizes(query, key, value);
  AttentionMemory memory;
  if (mask.keeps_all()) {
    memory = {project(key), project_values(value), mask};
  } else {  // 0 where no query attends: padding then gives nothing to any gradient
    const Tensor kept = mask.to_tensor(query.dim(0), query.dim(1), key.dim(1));
    const Tensor seen = unsqueeze(gt(sum(kept, 1), zeros({}, DType::i64)), -1);  // (B or 1, S, 1)
    const Tensor keys = where(seen, key, 0.0), values = where(seen, value, 0.0);
    if (!detail::all_finite(keys) || !detail::all_finite(values))
      return reported(query_by_query(query, keys, values, kept));
    memory = {project(keys), project_values(values), Mask::keep(kept)};
  }
  std::vector<Tensor> state = initial_state(memory);
  return reported(state.empty() ? step(query, memory, state)
                                : step_by_step(query, memory, std::move(state)));
}

// Each query of each batch row with the keys and values that it keeps, 0 in place of the others: a
// NaN or infinity reaches no query that does not keep it, nor the gradients of what that one keeps.
AttentionOutput StepAttention::query_by_query(const Tensor& query, const Tensor& key,
                                              const Tensor& value, const Tensor& kept) const {
  std::vector<Tensor> contexts, weights;
  for (std::int64_t b = 0; b < query.dim(0); ++b) {
    const auto row = [&](const Tensor& x) { return narrow(x, 0, x.dim(0) > 1 ? b : 0, 1); };
    std::vector<Tensor> state, row_contexts, row_weights;
    for (std::int64_t t = 0; t < query.dim(1); ++t) {
      const Tensor kept_keys = narrow(row(kept), 1, t, 1);  // (1, 1, S)
      const Tensor of_keys = transpose(kept_keys, 1, 2);    // (1, S, 1)
      const AttentionMemory memory{project(where(of_keys, row(key), 0.0)),
                                   project_values(where(of_keys, row(value), 0.0)),
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

// Each query is a step, under its own row of the mask.
AttentionOutput StepAttention::step_by_step(const Tensor& query, AttentionMemory memory,
                                            std::vector<Tensor> state) const {
  const std::int64_t B = query.dim(0), T = query.dim(1), S = memory.values.dim(1);
  const Mask mask = memory.mask;
  const Tensor kept = mask.keeps_all() ? Tensor() : mask.to_tensor(B, T, S);
  std::vector<Tensor> contexts, weights;
  for (std::int64_t t = 0; t < T; ++t) {
    if (kept.defined()) memory.mask = Mask::keep(narrow(kept, 1, t, 1));
    const AttentionOutput seen = step(narrow(query, 1, t, 1), memory, state);
    contexts.push_back(seen.context);  // (B, 1, C)
    weights.push_back(seen.weights);   // (B, 1, S), or of every head (B, H, 1, S)
  }
  if (T == 0)
    return {zeros({B, 0, memory.values.dim(2)}, query.dtype()), zeros({B, 0, S}, query.dtype())};
  return {concat(contexts, 1), concat(weights, -2)};
}

Tensor StepAttention::project_keys(const Tensor& key) const {
  const Scope in(*this);
  return project(key);
}

AttentionMemory StepAttention::prepare(const Tensor& key, const Tensor& value,
                                       const Mask& mask) const {
  return {project_keys(key), project_values(value), mask};
}

AttentionOutput StepAttention::attend(const Tensor& query, const AttentionMemory& memory,
                                      std::vector<Tensor>& state) const {
  const Scope in(*this);
  if (!state.empty() && initial_state(memory).empty())  // those that have one look at it themselves
    state_error("attention", "a state of {} tensors: this mechanism remembers nothing, so 0",
                state.size());
  return reported(step(query, memory, state));
}

AttentionOutput StepAttention::attend(const Tensor& query, const AttentionMemory& memory) const {
  std::vector<Tensor> none;
  return attend(query, memory, none);
}

// Tells the observers of the heads' weights; what is given back has their mean.
AttentionOutput StepAttention::reported(AttentionOutput seen) const {
  const bool one_head = seen.weights.rank() == 3;
  if (watched()) {
    const NoGrad guard;
    const Tensor numbers = numbers_of(seen.weights);
    const Tensor all = one_head ? unsqueeze(numbers, 1) : numbers;  // (B, H, T, S)
    report({all.dim(0), all.dim(1), all.dim(2), all.dim(3),
            [all](std::int64_t begin, std::int64_t end) {
              return narrow(all, 2, begin, end - begin);
            }});
  }
  if (!one_head) seen.weights = mean(seen.weights, 1);  // (B, T, S)
  return seen;
}

}  // namespace fovea::nn
