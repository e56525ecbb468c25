#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/optim/optimizer.h>

#include <algorithm>
#include <cmath>

namespace fovea::optim {

std::vector<ParameterGroup> one_group(const NamedTensors& parameters) {
  return {{.parameters = parameters}};
}

Optimizer::Optimizer(std::string kind, std::vector<ParameterGroup> groups, double lr,
                     double weight_decay)
    : kind_(std::move(kind)), lr_(zeros({1}, DType::f64)) {
  set_lr(lr);
  check_not_negative("weight_decay", weight_decay);
  for (const ParameterGroup& group : groups)
    add_group(group, group.weight_decay.value_or(weight_decay));
  if (slots_.empty()) value_error(kind_, "there are no parameters");
  steps_ = zeros({static_cast<std::int64_t>(slots_.size())}, DType::i64);
}

void Optimizer::add_group(const ParameterGroup& group, double weight_decay) {
  check_not_negative("lr_scale", group.lr_scale);
  check_not_negative("weight_decay", weight_decay);
  check_defined(kind_, group.parameters);
  for (const auto& [name, parameter] : group.parameters) {
    if (!is_floating(parameter.dtype()))
      dtype_error(kind_, "'{}' is {}: must be f32 or f64", name, name_of(parameter.dtype()));
    if (parameter.requires_grad() && !parameter.is_leaf())
      state_error(kind_, "'{}' was computed by an op: only leaves can be trained", name);
    for (const Slot& slot : slots_)
      if (slot.name == name || slot.parameter.impl() == parameter.impl())
        value_error(kind_, "'{}' and '{}' are the same parameter or have the same name", slot.name,
                    name);
    slots_.push_back({name, parameter, group.lr_scale, weight_decay});
  }
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.zero_grad();
}

void Optimizer::step() {
  const NoGrad guard;
  const double rate = lr();
  auto* steps = steps_.mutable_data<std::int64_t>();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const Tensor gradient = slot.parameter.grad();
    if (!gradient.defined()) continue;
    update(slot.parameter, {.index = i,
                            .gradient = gradient,
                            .lr = rate * slot.lr_scale,
                            .weight_decay = slot.weight_decay,
                            .t = ++steps[i]});
  }
}

void Optimizer::set_lr(double lr) {
  check_not_negative("lr", lr);
  lr_.mutable_data<double>()[0] = lr;
}

NamedTensors Optimizer::state() const {
  NamedTensors list = {{"lr", lr_}, {"steps", steps_}};
  for (const Memory& memory : memories_)
    for (std::size_t i = 0; i < slots_.size(); ++i)
      list.emplace_back(memory.name + "." + slots_[i].name, memory.tensors[i]);
  return list;
}

std::vector<Tensor>& Optimizer::add_memory(std::string name) {
  std::vector<Tensor>& tensors = memories_.emplace_back(Memory{std::move(name), {}}).tensors;
  for (const Slot& slot : slots_)
    tensors.push_back(zeros(slot.parameter.shape(), slot.parameter.dtype()));
  return tensors;
}

void Optimizer::check_not_negative(const char* what, double value) const {
  if (!(value >= 0 && std::isfinite(value)))
    value_error(kind_, "{} = {}: must be finite and not negative", what, value);
}

void Optimizer::check_fraction(const char* what, double value) const {
  if (!(value >= 0 && value < 1))
    value_error(kind_, "{} = {}: must be at least 0 and below 1", what, value);
}

}  // namespace fovea::optim
