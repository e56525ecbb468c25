// Gives a libtorch module the start weights of workloads.h.
#pragma once

#include <fovea/bench/workloads.h>

#include <string>

#include <torch/torch.h>

namespace peers {

inline void fill(torch::Tensor parameter, const std::string& name, float bound) {
  const auto count = static_cast<std::size_t>(parameter.numel());
  const torch::NoGradGuard no_grad;
  parameter.copy_(torch::tensor(workloads::uniform(name, count, bound)).view_as(parameter));
}

/// bound_of: name of a parameter -> bound of its values.
template <class BoundOf>
void fill_parameters(torch::nn::Module& module, BoundOf bound_of) {
  for (const auto& entry : module.named_parameters())
    fill(entry.value(), entry.key(), bound_of(entry.key()));
}

}  // namespace peers
