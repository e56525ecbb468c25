// LayerNorm as a module.
#pragma once

#include <fovea/nn/module.h>

namespace fovea::nn {

/// y = weight (x - mean) / sqrt(var + eps) + bias over the last axis.    x: (..., C)  ->  (..., C)
/// Starts at weight 1, bias 0.    Ba et al. 2016, Layer Normalization, section 3
class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t width, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;

  Tensor weight, bias;
  double eps;
};

}  // namespace fovea::nn
