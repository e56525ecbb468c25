// Module: a plain class with members, a call operator, and visit(), which lists its parameters,
// buffers and children.
//
// Names, counts, freezing, saving and loading are each written once on top of visit(). Parameter
// names and layouts are PyTorch's, so that its state_dicts load by name.
//
// Several threads may call one module at once as long as none changes it (train(), loading, an
// optimizer step) and it draws no random numbers (eval()).
//
//   class Linear : public Module {
//    public:
//     Tensor operator()(const Tensor& x) const {
//       const Scope in(*this);
//       return linear(x, weight, bias);
//     }
//     void visit(Visitor& v) override { v("weight", weight); v("bias", bias); }
//     Tensor weight, bias;
//   };
#pragma once

#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/state.h>
#include <fovea/core/tensor.h>

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn {

class Module;

/// The argument of visit(). Absent members (undefined tensors, empty optionals) are skipped.
class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual void parameter(std::string_view name, Tensor& value) = 0;
  virtual void buffer(std::string_view, Tensor&) {}
  virtual void child(std::string_view name, Module& module) = 0;

  void operator()(std::string_view name, Tensor& value) {
    if (value.defined()) parameter(name, value);
  }
  void operator()(std::string_view name, Module& module) { child(name, module); }
  template <std::derived_from<Module> M>
  void operator()(std::string_view name, std::optional<M>& module) {
    if (module) child(name, *module);
  }
  template <std::derived_from<Module> M>
  void operator()(std::string_view name, std::unique_ptr<M>& module) {
    if (module) child(name, *module);
  }
  template <std::derived_from<Module> M>
  void operator()(std::string_view name, std::vector<M>& modules) {
    for (std::size_t i = 0; i < modules.size(); ++i)
      child(std::string(name) + "." + std::to_string(i), modules[i]);
  }
};

class Module {
 public:
  Module() = default;
  // Not copyable: a copy would share the parameters' storage, as a copy of a Tensor does, so that
  // std::vector<Linear>(3, layer) would train one layer. Share single tensors explicitly:
  // head.weight = embedding.weight.
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&& other) noexcept : training_(other.training_) {}  // the path is not moved
  Module& operator=(Module&& other) noexcept {
    training_ = other.training_;
    return *this;
  }
  virtual ~Module() = default;

  /// Names every parameter, buffer and child, in the order of the state_dict.
  virtual void visit(Visitor& v) = 0;

  /// "encoder.gru.weight_ih_l0" and its tensor, for every parameter. A parameter with several names
  /// (tied weights) is listed once, under the first.
  NamedTensors parameters();
  NamedTensors buffers();
  NamedTensors state();  ///< parameters and buffers, for saving and loading

  std::int64_t parameter_count();
  void zero_grad();
  void train(bool on = true);  ///< training mode (used by dropout), also of every child
  void eval() { train(false); }
  bool training() const { return training_; }
  void freeze(bool on = true);  ///< sets requires_grad of all parameters to !on

  /// One line per parameter: name, shape, count, whether it is frozen; then the total.
  std::string summary();

  /// The path of this module from the root: "decoder.layers.1". Set by name_tree() of the root.
  const std::string& path() const;
  /// Sets the path of this module and of every module in it, with `root` as prefix. Call it once
  /// after construction to get names in errors, graph drawings and traces.
  void name_tree(const std::string& root = "");

 protected:
  /// Declare one at the top of operator(): errors raised in its scope name this module.
  class Scope {
   public:
    explicit Scope(const Module& module)
        : trail_(module.path_ ? module.path_ : ModuleTrail::current()) {
      if (autograd_mode.observed) [[unlikely]]
        detail::mark_begin();
    }

   private:
    ModuleTrail trail_;
  };

 private:
  const std::string* path_ = nullptr;  // interned: recorded ops point to it and may outlive this
  bool training_ = true;
};

}  // namespace fovea::nn
