// Attention mechanisms for recurrent decoders, which run one decoder step at a time.
//
// B batch, K queries of each batch row at one step (the hypotheses of a beam), T steps, S keys.
#pragma once

#include <fovea/core/ops/additive_attention.h>
#include <fovea/nn/attention/attention.h>

namespace fovea::nn {

/// The projected keys and values that the queries attend to, computed once per sentence.
struct AttentionMemory {
  Tensor keys = {};          ///< (B, S, A): projected, as used in the score
  Tensor values = {};        ///< (B, S, C), or projected: (B, S, A)
  Mask mask = Mask::none();  ///< over (B, K, S), the same at every step
};

/// An Attention that can also run one decoder step at a time: the keys are projected once per
/// sentence, then each step attends to them with K queries of every sentence. Values that a
/// mechanism needs from earlier steps (the last weights, the step index) are its state: tensors
/// whose first axis is the B K hypotheses, so that a beam search can reorder them.
class DecoderAttention : public Attention {
 public:
  /// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, C)  ->  context (B, T, C). Mechanisms with a
  /// state treat the T queries as T steps. A NaN or infinity in a key or value affects only the
  /// queries that attend to it, forward and backward. ShapeError, DTypeError.
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  /// As operator(), and also returns the weights (B, T, S).
  AttentionOutput forward_with_weights(const Tensor& query, const Tensor& key, const Tensor& value,
                                       const Mask& mask) const;

  /// The projection of the keys for the score: (..., Ck) -> (..., A). It acts on each row alone, so
  /// packed rows (N, Ck) are valid input too.
  Tensor project_keys(const Tensor& key) const;
  /// The projection of the values: (..., C) -> (..., A), each row alone. The identity for most
  /// mechanisms.
  virtual Tensor project_values(const Tensor& value) const { return value; }
  AttentionMemory prepare(const Tensor& key, const Tensor& value, const Mask& mask) const;

  /// The state before the first step, for one query per sentence; empty if the mechanism has none.
  virtual std::vector<Tensor> initial_state(const AttentionMemory&) const { return {}; }

  /// One step.   query: (B, K, Cq)  state: first axis B K, updated  ->  (B, K, C), (B, K, S)
  /// StateError if the state is not one of this mechanism. Each step is reported to observers as
  /// one call, with the weights of every head; the returned weights are the mean over the heads.
  AttentionOutput attend(const Tensor& query, const AttentionMemory& memory,
                         std::vector<Tensor>& state) const;
  AttentionOutput attend(const Tensor& query, const AttentionMemory& memory) const;

 protected:
  virtual Tensor project(const Tensor& key) const = 0;
  /// As attend(), but the weights may have a head axis, (B, H, K, S).
  virtual AttentionOutput step(const Tensor& query, const AttentionMemory& memory,
                               std::vector<Tensor>& state) const = 0;

 private:
  AttentionOutput query_by_query(const Tensor& query, const Tensor& key, const Tensor& value,
                                 const Tensor& kept) const;
  AttentionOutput step_by_step(const Tensor& query, AttentionMemory memory,
                               std::vector<Tensor> state) const;
  AttentionOutput reported(AttentionOutput output) const;
};

}  // namespace fovea::nn
