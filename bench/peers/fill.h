// Sets a libtorch module to the initial weights of workloads.h, and computes gradient norms.
#pragma once

#include <fovea/bench/workloads.h>

#include <cmath>
#include <string>

#include <torch/torch.h>

namespace peers {

inline void fill(torch::Tensor parameter, const std::string& name, float bound) {
  const auto count = static_cast<std::size_t>(parameter.numel());
  const torch::NoGradGuard no_grad;
  parameter.copy_(torch::tensor(workloads::start_values(name, count, bound)).view_as(parameter));
}

/// bound_of: name of a parameter -> bound of its values.
template <class BoundOf>
void fill_parameters(torch::nn::Module& module, BoundOf bound_of) {
  for (const auto& entry : module.named_parameters())
    fill(entry.value(), entry.key(), bound_of(entry.key()));
}

/// In double precision, for the checks of bench/compare.
inline double norm(const torch::Tensor& x) {
  return x.detach().to(torch::kDouble).norm().item<double>();
}

/// The norm of all parameters' gradients as one vector.
inline double gradient_norm(torch::nn::Module& module) {
  double squares = 0;
  for (const torch::Tensor& parameter : module.parameters())
    squares += std::pow(peers::norm(parameter.grad()), 2);
  return std::sqrt(squares);
}

}  // namespace peers
