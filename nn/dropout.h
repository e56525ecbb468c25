// Dropout as a module, which holds the mode (train or eval) and the random generator.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

/// In training mode each element is zeroed with probability p and the others are divided by 1 - p;
/// in eval() mode it is the identity. `rng` must outlive the module; save its state to resume a
/// training run exactly.    Srivastava et al. 2014, JMLR 15, section 4
class Dropout : public Module {
 public:
  Dropout(double p, Rng& rng) : p_(p), rng_(&rng) {}
  Tensor operator()(const Tensor& x) const;
  Tensor of_relu(const Tensor& x) const;  ///< dropout(max(x, 0)), in one pass
  void visit(Visitor&) override {}
  bool is_on() const { return training() && p_ > 0; }  ///< else it is the identity

 private:
  double p_;
  Rng* rng_;
};

}  // namespace fovea::nn
