#include <fovea/nn/module.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <unordered_set>

#include <fmt/format.h>

namespace fovea::nn {
namespace {

std::string join_names(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + "." + std::string(name);
}

// Calls the callbacks with full names, for the whole module tree.
class Walker final : public Visitor {
 public:
  using OnTensor = std::function<void(const std::string&, Tensor&)>;
  using OnModule = std::function<void(const std::string&, Module&)>;
  OnTensor on_parameter, on_buffer;
  OnModule on_module;

  void walk(const std::string& path, Module& module) {
    if (on_module) on_module(path, module);
    const std::string outer = std::exchange(prefix_, path);
    module.visit(*this);
    prefix_ = outer;
  }
  void parameter(std::string_view name, Tensor& value) override {
    if (on_parameter) on_parameter(join_names(prefix_, name), value);
  }
  void buffer(std::string_view name, Tensor& value) override {
    if (on_buffer && value.defined()) on_buffer(join_names(prefix_, name), value);
  }
  void child(std::string_view name, Module& module) override {
    walk(join_names(prefix_, name), module);
  }

 private:
  std::string prefix_;
};

// Paths are never freed: they are few, and graphs, errors and traces point to them.
const std::string* interned(const std::string& path) {
  static std::mutex mutex;
  static auto* paths = new std::unordered_set<std::string>;
  if (path.empty()) return nullptr;
  const std::lock_guard lock(mutex);
  return &*paths->insert(path).first;
}

// The tensors of a module tree, each once, under its first name.
NamedTensors tensors_of(Module& module, bool parameters, bool buffers) {
  NamedTensors list;
  const Walker::OnTensor add = [&](const std::string& name, Tensor& value) {
    list.emplace_back(name, value);
  };
  Walker walker;
  if (parameters) walker.on_parameter = add;
  if (buffers) walker.on_buffer = add;
  walker.walk("", module);
  return distinct("Module", list);
}

}  // namespace

NamedTensors Module::parameters() { return tensors_of(*this, true, false); }
NamedTensors Module::buffers() { return tensors_of(*this, false, true); }
NamedTensors Module::state() { return tensors_of(*this, true, true); }

std::int64_t Module::parameter_count() {
  std::int64_t count = 0;
  for (const auto& [name, value] : parameters()) count += value.numel();
  return count;
}

void Module::zero_grad() {
  for (auto& [name, value] : parameters()) value.zero_grad();
}

void Module::train(bool on) {
  Walker walker;
  walker.on_module = [on](const std::string&, Module& module) { module.training_ = on; };
  walker.walk("", *this);
}

void Module::freeze(bool on) {
  for (auto& [name, value] : parameters()) value.set_requires_grad(!on);
}

void Module::name_tree(const std::string& root) {
  Walker walker;
  walker.on_module = [](const std::string& path, Module& module) { module.path_ = interned(path); };
  walker.walk(root, *this);
}

const std::string& Module::path() const {
  static const std::string unnamed;
  return path_ ? *path_ : unnamed;
}

std::string Module::summary() {
  const NamedTensors list = parameters();
  std::size_t name_width = 9, shape_width = 5;
  for (const auto& [name, value] : list) {
    name_width = std::max(name_width, name.size());
    shape_width = std::max(shape_width, value.shape().str().size());
  }
  std::string table = fmt::format("{:<{}}  {:<{}}  {:>12}\n", "parameter", name_width, "shape",
                                  shape_width, "count");
  for (const auto& [name, value] : list)
    table += fmt::format("{:<{}}  {:<{}}  {:>12}{}\n", name, name_width, value.shape().str(),
                         shape_width, value.numel(), value.requires_grad() ? "" : "  frozen");
  return table + fmt::format("{:<{}}  {:<{}}  {:>12}\n", "total", name_width, "", shape_width,
                             parameter_count());
}

}  // namespace fovea::nn
