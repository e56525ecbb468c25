// What the fused attention and its definition share: the checks, the definition as a function of
// the tensors that a score_mod captures, and the calls of the kernels. For core/ops/attention*.cpp.
#pragma once

#include <fovea/core/ops/attention.h>

#include <vector>

namespace fovea::detail {

struct AttentionShape {
  std::int64_t B, H, G, T, S, D, E;
};

/// The errors of scaled_dot_product_attention, all but the mask's.
AttentionShape check_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                               const AttentionOptions& options);
void check_attention_options(const AttentionOptions& options, std::int64_t H, DType dtype);

double attention_scale(const AttentionOptions& options, std::int64_t D);

/// attention_reference with `captured` in place of the score_mod's own captured tensors.
AttentionResult attention_twin(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask,
                               const AttentionOptions& options,
                               const std::vector<Tensor>& captured);

/// A padded batch, or one sequence of a packed one (then B = 1). Tensors are views without history,
/// (B, heads, rows, width), whose rows are dense.
struct AttentionPart {
  AttentionShape n;
  Tensor q, k, v, output;
  Tensor lse;  ///< (B, H, T), dense
  MaskPlan plan;
  RngState random;  ///< where dropout's words begin
};

/// What is the same for all parts.
struct AttentionSettings {
  double scale, dropout;
  ScoreMod score_mod;
  Tensor sinks;
};

/// The gradients of one part; undefined where none is wanted.
struct AttentionPartGrads {
  Tensor doutput, dlse;
  Tensor dq, dk, dv, dsinks;     ///< dsinks: (B, H)
  std::vector<Tensor> captured;  ///< (B, H, ...) each, to be added to
};

/// Fills output and lse.
void run_forward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                 DType dtype);
/// Fills mean (B, T, S), dense, from one part; its v and output are not looked at.
void run_head_mean(const AttentionPart& part, const AttentionSettings& settings,
                   const Tensor& mean);
/// Fills the gradients.
void run_backward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                  const std::vector<AttentionPartGrads>& grads, DType dtype);

}  // namespace fovea::detail
