// Mechanisms that a recurrent decoder can ask step by step.
//
// B batch, K queries of each batch row at one step (a beam's hypotheses), T steps, S keys.
#pragma once

#include <fovea/core/ops/additive_attention.h>
#include <fovea/nn/attention/attention.h>

namespace fovea::nn {

/// What the queries look at, made ready once a sentence.
struct AttentionMemory {
  Tensor keys = {};          ///< (B, S, A): projected, as the mechanism scores them
  Tensor values = {};        ///< (B, S, C), or projected: (B, S, A)
  Mask mask = Mask::none();  ///< over (B, K, S), the same at every step
};

/// An Attention that also works a step at a time: keys are projected once a sentence, then each
/// step looks at them with K queries of every sentence. What a mechanism must remember between
/// steps (the last weights, the number of the step) is its state: tensors whose first axis is the
/// B K hypotheses, so that a beam search can reorder them.
class StepAttention : public Attention {
 public:
  /// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  context (B, T, C). Mechanisms with a
  /// state take the T queries as T steps. A NaN or infinity in a key or value reaches only
  /// the queries that keep it, forward and backward. ShapeError, DTypeError.
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  /// The same, and the weights (B, T, S) with it.
  AttentionOutput look(const Tensor& query, const Tensor& key, const Tensor& value,
                       const Mask& mask) const;

  /// The keys' half of the scores: (..., Ck) -> (..., A), row by row, so that packed rows (N, Ck)
  /// can be given too.
  Tensor project_keys(const Tensor& key) const;
  /// What of the values does not depend on the queries: (..., C) -> (..., A), row by row. Most
  /// mechanisms mix the values as they are.
  virtual Tensor project_values(const Tensor& value) const { return value; }
  AttentionMemory prepare(const Tensor& key, const Tensor& value, const Mask& mask) const;

  /// The state before the first step, for one query a sentence; empty if there is none.
  virtual std::vector<Tensor> initial_state(const AttentionMemory&) const { return {}; }

  /// One step.   query: (B, K, Cq)  state: first axis B K, replaced  ->  (B, K, C), (B, K, S)
  /// StateError if the state is not one of this mechanism. A probe sees each step as a call, and
  /// where there are several heads the weights of each; the mean of them is what is given back.
  AttentionOutput attend(const Tensor& query, const AttentionMemory& memory,
                         std::vector<Tensor>& state) const;
  AttentionOutput attend(const Tensor& query, const AttentionMemory& memory) const;

 protected:
  virtual Tensor project(const Tensor& key) const = 0;
  /// As attend(), but weights may be those of every head, (B, H, K, S).
  virtual AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                               std::vector<Tensor>& state) const = 0;

 private:
  AttentionOutput query_by_query(const Tensor& query, const Tensor& key, const Tensor& value,
                                 const Tensor& kept) const;
  AttentionOutput step_by_step(const Tensor& query, AttentionMemory memory,
                               std::vector<Tensor> state) const;
  AttentionOutput reported(AttentionOutput seen) const;
};

}  // namespace fovea::nn
