// Stochastic gradient descent. The update, with its sources: SgdRule in core/ops/optimizer.h.
#pragma once

#include <fovea/optim/optimizer.h>

namespace fovea::optim {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;  ///< requires momentum > 0 and dampening = 0
};

class SGD : public Optimizer {
 public:
  explicit SGD(const NamedTensors& parameters, SGDOptions options = {});
  explicit SGD(std::vector<ParameterGroup> groups, SGDOptions options = {});

 private:
  void update(Tensor& w, const Update& u) override;

  SGDOptions options_;
  std::vector<Tensor>* velocity_ = nullptr;  // one for each parameter; null without momentum
};

}  // namespace fovea::optim
