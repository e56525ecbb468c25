// Linear: y = x W^T + b.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

struct LinearOptions {
  std::int64_t in_features;
  std::int64_t out_features;
  bool bias = true;
};

/// y = x W^T + b.    x: (..., in)  weight: (out, in)  bias: (out)  ->  (..., out)
/// Initialized uniform in +-1/sqrt(in), as in PyTorch. ValueError unless in and out are at least 1;
/// ShapeError unless the last size of x is `in`.
class Linear : public Module {
 public:
  Linear(LinearOptions options, Rng& rng);
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;

  Tensor weight, bias;
};

}  // namespace fovea::nn
