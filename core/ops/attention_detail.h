// Shared by the fused attention and its reference: checks, the reference with explicit captured
// tensors, and the kernel calls. For core/ops/attention*.cpp.
#pragma once

#include <fovea/core/ops/attention.h>

#include <vector>

namespace fovea::detail {

struct AttentionShape {
  std::int64_t B, H, G, T, S, D, E;
};

/// Errors of scaled_dot_product_attention, except those of the mask.
AttentionShape check_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                               const AttentionOptions& options);
void check_attention_options(const AttentionOptions& options, std::int64_t H, DType dtype);

double attention_scale(const AttentionOptions& options, std::int64_t D);

/// attention_reference with `captured` in place of the tensors captured by the score_mod.
AttentionResult attention_reference_with(const Tensor& q, const Tensor& k, const Tensor& v,
                                         const Mask& mask, const AttentionOptions& options,
                                         const std::vector<Tensor>& captured);

/// A padded batch, or one sequence of a packed batch (then B = 1). The tensors are detached views
/// of shape (B, heads, rows, width) with dense rows.
struct AttentionPart {
  AttentionShape n;
  Tensor q, k, v, output;
  Tensor lse;  ///< (B, H, T), dense
  MaskPlan plan;
  RngState random;  ///< origin of dropout's random words
};

/// Settings shared by all parts.
struct AttentionSettings {
  double scale, dropout;
  ScoreMod score_mod;
  Tensor sinks;
};

/// The gradients of one part; undefined where not required.
struct AttentionPartGrads {
  Tensor doutput, dlse;
  Tensor dq, dk, dv, dsinks;     ///< dsinks: (B, H)
  std::vector<Tensor> captured;  ///< one (B, H, ...) each, accumulated into
};

/// Fills output and lse.
void run_forward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                 DType dtype);
/// Fills mean (B, T, S), dense, from one part; does not read its v and output.
void run_head_mean(const AttentionPart& part, const AttentionSettings& settings,
                   const Tensor& mean);
/// Fills the gradients.
void run_backward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                  const std::vector<AttentionPartGrads>& grads, DType dtype);

}  // namespace fovea::detail
