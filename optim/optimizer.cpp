#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/optim/optimizer.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

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
  check_groups();
  steps_ = zeros({static_cast<std::int64_t>(slots_.size())}, DType::i64);
}

void Optimizer::add_group(const ParameterGroup& group, double weight_decay) {
  check_not_negative("lr_scale", group.lr_scale);
  check_not_negative("weight_decay", weight_decay);
  const std::size_t earlier = slots_.size();
  for (const auto& [name, parameter] : distinct(kind_, group.parameters)) {
    if (!is_floating(parameter.dtype()))
      dtype_error(kind_, "'{}' is {}: must be f32 or f64", name, name_of(parameter.dtype()));
    if (parameter.requires_grad() && !parameter.is_leaf())
      state_error(kind_, "'{}' was computed by an op: only leaves can be trained", name);
    for (std::size_t i = 0; i < earlier; ++i)
      if (slots_[i].name == name || slots_[i].parameter.impl() == parameter.impl())
        value_error(kind_,
                    "'{}' and '{}' of two groups are the same parameter or have the same name",
                    slots_[i].name, name);
    slots_.push_back({name, parameter, group.lr_scale, weight_decay});
  }
}

// A storage that is in two groups would be updated twice per step.
void Optimizer::check_groups() const {
  NamedTensors all;
  for (const Slot& slot : slots_) all.emplace_back(slot.name, slot.parameter);
  const NamedTensors once = distinct(kind_, all);
  if (once.size() == all.size()) return;
  std::size_t i = 0;  // the first duplicate
  while (i < once.size() && once[i].first == all[i].first) ++i;
  value_error(kind_, "'{}' shares memory with a parameter of another group", all[i].first);
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

void Optimizer::check_state(std::string_view source, const std::string& name, const Tensor& value,
                            std::int64_t steps) const {
  const auto refuse = [&](std::size_t i, const auto& number, std::string_view rule) {
    state_error(kind_, "{}: {}[{}] = {}: must be {}", source, name, i, number, rule);
  };
  if (value.dtype() == DType::i64) {
    const auto counts = value.to_vector<std::int64_t>();
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i] < 0 || counts[i] > steps)
        refuse(i, counts[i], fmt::format("from 0 to {}, the number of training steps", steps));
    return;
  }
  bool never_negative = name == "lr";
  for (const Memory& memory : memories_)
    never_negative |= memory.never_negative && name.starts_with(memory.name + ".");
  const auto numbers = value.to_vector<double>();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!std::isfinite(numbers[i])) refuse(i, numbers[i], "finite");
    if (never_negative && numbers[i] < 0) refuse(i, numbers[i], "at least 0");
  }
}

std::vector<Tensor>& Optimizer::add_state(std::string name, bool never_negative) {
  std::vector<Tensor>& tensors =
      memories_.emplace_back(Memory{std::move(name), {}, never_negative}).tensors;
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
