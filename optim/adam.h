// Adam and AdamW. The updates, with their sources: AdamRule in core/ops/optimizer.h.
#pragma once

#include <fovea/optim/optimizer.h>

namespace fovea::optim {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;    ///< decay of the mean gradient
  double beta2 = 0.999;  ///< decay of the mean squared gradient
  double eps = 1e-8;
  double weight_decay = 0;  ///< added to the gradient (an L2 penalty)
};

class Adam : public Optimizer {
 public:
  explicit Adam(const NamedTensors& parameters, AdamOptions options = {});
  explicit Adam(std::vector<ParameterGroup> groups, AdamOptions options = {});

 protected:
  Adam(std::string kind, std::vector<ParameterGroup> groups, AdamOptions options, bool decoupled);

 private:
  void update(Tensor& w, const Update& u) override;

  AdamOptions options_;
  bool decoupled_;
  std::vector<Tensor>* mean_;
  std::vector<Tensor>* mean_square_;
};

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;  ///< applied to the weights, not added to the gradient
};

class AdamW : public Adam {
 public:
  explicit AdamW(const NamedTensors& parameters, AdamWOptions options = {});
  explicit AdamW(std::vector<ParameterGroup> groups, AdamWOptions options = {});
};

}  // namespace fovea::optim
