// Replacing the parameters of a module.
#pragma once

#include <fovea/nn/module.h>

#include <functional>

namespace fovea::test {

/// Replaces the parameters of a module, in order.
class ReplaceParameters : public nn::Visitor {
 public:
  explicit ReplaceParameters(std::function<Tensor(const Tensor&)> f) : f_(std::move(f)) {}
  void parameter(std::string_view, Tensor& value) override { value = f_(value); }
  void child(std::string_view, nn::Module& module) override { module.visit(*this); }

 private:
  std::function<Tensor(const Tensor&)> f_;
};

/// The module's parameters as leaves of another dtype.
inline void cast(nn::Module& module, DType dtype) {
  ReplaceParameters replace(
      [&](const Tensor& w) { return w.detach().to(dtype).clone().set_requires_grad(); });
  module.visit(replace);
}
inline void to_f64(nn::Module& module) { cast(module, DType::f64); }

}  // namespace fovea::test
