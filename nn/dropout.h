// Dropout as a module: it knows the mode and where its random numbers come from.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

/// In training each number is zeroed with probability p and the others are divided by 1 - p; in
/// eval() nothing happens. `rng` must outlive the module; its state is what makes a resumed
/// training exact.    Srivastava et al. 2014, JMLR 15, section 4
class Dropout : public Module {
 public:
  Dropout(double p, Rng& rng) : p_(p), rng_(&rng) {}
  Tensor operator()(const Tensor& x) const;
  Tensor of_relu(const Tensor& x) const;  ///< of max(x, 0), in one pass
  void visit(Visitor&) override {}
  bool is_on() const { return training() && p_ > 0; }  ///< else it gives back what it gets

 private:
  double p_;
  Rng* rng_;
};

}  // namespace fovea::nn
