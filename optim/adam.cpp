#include <fovea/core/ops/optimizer.h>
#include <fovea/optim/adam.h>

namespace fovea::optim {
namespace {

AdamOptions as_adam(const AdamWOptions& o) {
  return {
      .lr = o.lr, .beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .weight_decay = o.weight_decay};
}

}  // namespace

Adam::Adam(const NamedTensors& parameters, AdamOptions options)
    : Adam(one_group(parameters), options) {}

Adam::Adam(std::vector<ParameterGroup> groups, AdamOptions options)
    : Adam("Adam", std::move(groups), options, false) {}

Adam::Adam(std::string kind, std::vector<ParameterGroup> groups, AdamOptions options,
           bool decoupled)
    : Optimizer(std::move(kind), std::move(groups), options.lr, options.weight_decay),
      options_(options),
      decoupled_(decoupled),
      mean_(&add_state("exp_avg")),
      mean_square_(&add_state("exp_avg_sq", /*never_negative=*/true)) {
  check_fraction("beta1", options.beta1);
  check_fraction("beta2", options.beta2);
  check_not_negative("eps", options.eps);
}

void Adam::update(Tensor& w, const Update& u) {
  adam_step(w, u.gradient, (*mean_)[u.index], (*mean_square_)[u.index],
            {.lr = u.lr,
             .beta1 = options_.beta1,
             .beta2 = options_.beta2,
             .eps = options_.eps,
             .weight_decay = u.weight_decay,
             .decoupled = decoupled_},
            u.t);
}

AdamW::AdamW(const NamedTensors& parameters, AdamWOptions options)
    : AdamW(one_group(parameters), options) {}

AdamW::AdamW(std::vector<ParameterGroup> groups, AdamWOptions options)
    : Adam("AdamW", std::move(groups), as_adam(options), true) {}

}  // namespace fovea::optim
