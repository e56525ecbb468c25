// LayerNorm and RMSNorm as modules, and Norm, which is one of the two by option.
#pragma once

#include <fovea/nn/module.h>

namespace fovea::nn {

/// y = weight (x - mean) / sqrt(var + eps) + bias over the last axis.    x: (..., C)  ->  (..., C)
/// Initialized to weight 1, bias 0.    Ba et al. 2016, Layer Normalization, section 3
class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t width, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;

  Tensor weight, bias;
  double eps;
};

/// y = weight x / sqrt(mean(x^2) + eps) over the last axis.    x: (..., C)  ->  (..., C)
/// Initialized to weight 1.    Zhang and Sennrich 2019, Root Mean Square Layer Normalization, eq. 4
class RMSNorm : public Module {
 public:
  explicit RMSNorm(std::int64_t width, double eps = 1e-6);
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;

  Tensor weight;
  double eps;
};

enum class NormKind { layer, rms };

struct NormOptions {
  std::int64_t width;  ///< C
  NormKind kind = NormKind::layer;
  double eps = 1e-5;
  bool bias = true;  ///< of LayerNorm; RMSNorm has none
};

/// LayerNorm or RMSNorm, selected by options.kind, with the same parameter names: weight, bias.
class Norm : public Module {
 public:
  explicit Norm(const NormOptions& options);
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;

  Tensor weight, bias;
  NormKind kind;
  double eps;
};

}  // namespace fovea::nn
