// Scaled dot-product attention without parameters, as an Attention module.
#pragma once

#include <fovea/core/ops/attention.h>
#include <fovea/nn/attention/attention.h>

#include <optional>

namespace fovea::nn {

struct ScaledDotProductOptions {
  std::optional<double> scale = {};  ///< factor of q . k; 1 / sqrt(C) if not given
  double dropout = 0;                ///< on the weights
};

/// y_t = sum_s a_ts v_s,   a_t = softmax_s(scale q_t . k_s)       over the unmasked keys
///   query: (B, T, C)  key: (B, S, C)  value: (B, S, Cv)  ->  (B, T, Cv)
/// Vaswani et al. 2017, Attention Is All You Need, section 3.2.1. ShapeError, ValueError for a
/// dropout outside [0, 1).
class ScaledDotProduct : public Attention {
 public:
  /// `rng` must outlive the module: dropout draws from it.
  ScaledDotProduct(ScaledDotProductOptions options, Rng& rng);
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Mask& mask) const override;
  void visit(Visitor&) override {}

 private:
  ScaledDotProductOptions options_;
  Rng* rng_;
};

}  // namespace fovea::nn
