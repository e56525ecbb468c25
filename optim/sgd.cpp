#include <fovea/core/error.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/optim/sgd.h>

namespace fovea::optim {

SGD::SGD(const NamedTensors& parameters, SGDOptions options)
    : SGD(one_group(parameters), options) {}

SGD::SGD(std::vector<ParameterGroup> groups, SGDOptions options)
    : Optimizer("SGD", std::move(groups), options.lr, options.weight_decay), options_(options) {
  check_not_negative("momentum", options.momentum);
  check_not_negative("dampening", options.dampening);
  if (options.nesterov && (options.momentum == 0 || options.dampening != 0))
    value_error(kind_,
                "momentum = {}, dampening = {}: nesterov requires momentum > 0 and dampening = 0",
                options.momentum, options.dampening);
  if (options.momentum != 0) velocity_ = &add_state("momentum");
}

void SGD::update(Tensor& w, const Update& u) {
  Tensor none;
  sgd_step(w, u.gradient, velocity_ ? (*velocity_)[u.index] : none,
           {.lr = u.lr,
            .momentum = options_.momentum,
            .dampening = options_.dampening,
            .weight_decay = u.weight_decay,
            .nesterov = options_.nesterov},
           u.t == 1);
}

}  // namespace fovea::optim
