#include <fovea/core/diagnose.h>
#include <fovea/core/observe.h>
#include <fovea/core/state.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

namespace fovea {
namespace {

// Ops of the diagnosis itself are neither recorded nor observed.
class Unobserved {
 public:
  Unobserved() : before_(autograd_mode) { autograd_mode = {.grad_enabled = false}; }
  ~Unobserved() { autograd_mode = before_; }
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;

 private:
  AutogradMode before_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  std::int64_t non_finite_count = 0;
};

Range range_of(const Tensor& x) {
  const Unobserved guard;
  const Tensor dense = x.contiguous();
  Range range;
  dispatch_float(x.dtype(), "trace", [&]<class T>() {
    const T* values = dense.data<T>();
    for (std::int64_t i = 0; i < dense.numel(); ++i) {
      if (!std::isfinite(values[i])) {
        ++range.non_finite_count;
      } else {
        range.low = std::min(range.low, static_cast<double>(values[i]));
        range.high = std::max(range.high, static_cast<double>(values[i]));
      }
    }
  });
  return range;
}

bool is_finite(const Tensor& x) {
  return !x.defined() || !is_floating(x.dtype()) || range_of(x).non_finite_count == 0;
}

std::string describe(const char* what, std::size_t i, const Tensor& x) {
  if (!x.defined() || !is_floating(x.dtype())) return {};
  const Range range = range_of(x);
  const std::string values =
      range.low <= range.high
          ? fmt::format("finite values in [{:.4g}, {:.4g}]", range.low, range.high)
          : "no finite value";
  return fmt::format("; {} {} {}: {}, {} of {} not finite", what, i, x.shape().str(), values,
                     range.non_finite_count, x.numel());
}

// The leaves that `start` was computed from; iterative, because graphs can be deep.
std::vector<Ref<Node>> leaves_under(const Ref<Node>& start) {
  std::vector<Ref<Node>> leaves;
  std::vector<Node*> stack{start.get()};
  std::unordered_set<const Node*> seen{start.get()};
  if (start->is_leaf()) leaves.push_back(start);
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    for (const Edge& edge : node->edges()) {
      if (!edge.node || !seen.insert(edge.node.get()).second) continue;
      if (edge.node->is_leaf()) leaves.push_back(edge.node);
      stack.push_back(edge.node.get());
    }
  }
  return leaves;
}

std::string location(const char* op, const std::string* module) {
  return module ? fmt::format("{} in {}", op, *module) : std::string(op);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

namespace detail {

void after_forward(const OpInfo* op, std::span<const Tensor> outputs, std::span<const Input> inputs,
                   bool cut) {
  if (autograd_mode.observe) autograd_mode.observe->forward(op, outputs, inputs);
  if (autograd_mode.audit) autograd_mode.audit->note_leaves(op, inputs);
  if (cut && autograd_mode.audit) autograd_mode.audit->note_cut(op, inputs);
  if (!autograd_mode.trace_non_finite) return;
  for (const Input& input : inputs)
    if (!is_finite(*input.tensor)) return;  // not caused by this op
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    if (is_finite(outputs[k])) continue;
    std::string inputs_text;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      inputs_text += describe("input", i, *inputs[i].tensor);
    raise<NonFiniteError>(op->name, "forward: the first NaN or infinity{}{}",
                          describe("output", k, outputs[k]), inputs_text);
  }
}

void check_finite_grads(const Node& node, std::span<const Tensor> dys, Grads& grads) {
  for (const Tensor& dy : dys)
    if (!is_finite(dy)) return;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (is_finite(grads[i])) continue;
    std::string outputs_text;
    for (std::size_t k = 0; k < dys.size(); ++k)
      outputs_text += describe("gradient of output", k, dys[k]);
    raise<NonFiniteError>(node.op->name, "backward: the first NaN or infinity{}{}",
                          describe("gradient of input", i, grads[i]), outputs_text);
  }
}

}  // namespace detail

void GradientAudit::note_cut(const OpInfo* op, std::span<const detail::Input> inputs) {
  Cut cut{location(op->name, ModuleTrail::current()), {}};
  if (!grad_enabled() && op->differentiable) cut.where += " (under NoGrad)";
  for (const detail::Input& input : inputs)
    if (input.tensor->defined() && input.tensor->requires_grad())
      for (Ref<Node>& leaf : leaves_under(input.tensor->impl()->node))
        cut.leaves.push_back(std::move(leaf));
  cuts_.push_back(std::move(cut));
}

void GradientAudit::note_leaves(const OpInfo* op, std::span<const detail::Input> inputs) {
  if (!grad_enabled()) return;  // evaluation only: the loss does not depend on it
  for (const detail::Input& input : inputs) {
    if (!input.tensor->defined() || !input.tensor->requires_grad()) continue;
    const Ref<Node>& node = input.tensor->impl()->node;
    const auto is_known = [&](const Use& use) { return use.leaf == node; };
    if (node->is_leaf() && std::none_of(leaves_.begin(), leaves_.end(), is_known))
      leaves_.push_back({node, location(op->name, ModuleTrail::current())});
  }
}

void GradientAudit::forget_leaves(std::span<const Tensor> leaves) {
  std::erase_if(leaves_, [&](const Use& use) {
    return std::any_of(leaves.begin(), leaves.end(),
                       [&](const Tensor& x) { return x.impl()->node == use.leaf; });
  });
}

std::vector<GradientAudit::Finding> GradientAudit::findings(
    std::span<const std::pair<std::string, Tensor>> parameters) const {
  check_defined("GradientAudit", parameters);
  std::vector<Finding> found;
  for (const auto& [name, parameter] : parameters) {
    const Tensor g = parameter.grad();
    if (g.defined()) {
      const Range range = range_of(g);
      if (range.non_finite_count > 0) {
        found.push_back({name, Kind::non_finite, {}});
      } else if (g.numel() > 0 && range.low == 0 && range.high == 0) {
        found.push_back({name, Kind::zero, {}});
      }
      continue;
    }
    std::string cut_by;
    for (const Cut& cut : cuts_)
      for (const Ref<Node>& leaf : cut.leaves)
        if (cut_by.empty() && leaf == parameter.impl()->node) cut_by = cut.where;
    found.push_back({name, Kind::none, cut_by});
  }
  for (const Use& use : leaves_) {
    const auto is_listed = [&](const auto& item) { return item.second.impl()->node == use.leaf; };
    if (std::none_of(parameters.begin(), parameters.end(), is_listed))
      found.push_back({use.leaf->shape.str(), Kind::unlisted, use.by});
  }
  return found;
}

std::string GradientAudit::report(
    std::span<const std::pair<std::string, Tensor>> parameters) const {
  constexpr const char* kinds[] = {"no gradient", "zero gradient", "non-finite gradient"};
  std::string text;
  for (const Finding& f : findings(parameters)) {
    if (f.kind == Kind::unlisted) {
      text += fmt::format(
          "a leaf {} that {} uses is not among the parameters: does visit() name its module?\n",
          f.parameter, f.cut_by);
      continue;
    }
    text += fmt::format("{}: {}", f.parameter, kinds[static_cast<int>(f.kind)]);
    if (f.kind == Kind::none)
      text += f.cut_by.empty() ? ": the loss does not depend on it" : ": cut by " + f.cut_by;
    text += '\n';
  }
  return text.empty() ? "every parameter got a finite, non-zero gradient\n" : text;
}

std::string graph_to_dot(const Tensor& output,
                         std::span<const std::pair<std::string, Tensor>> names) {
  std::string dot =
      "digraph fovea {\n  rankdir=BT;\n  node [shape=box, fontname=\"sans-serif\"];\n";
  check_defined("graph_to_dot", "output", output);
  check_defined("graph_to_dot", names);
  if (!output.requires_grad()) return dot + "}\n";
  std::unordered_map<const Node*, std::string> leaf_names;
  for (const auto& [name, tensor] : names) leaf_names[tensor.impl()->node.get()] = name;

  std::unordered_map<const Node*, std::size_t> ids;
  std::vector<Node*> queue;
  const auto id_of = [&](Node* node) {
    const auto [it, inserted] = ids.emplace(node, ids.size());
    if (inserted) queue.push_back(node);
    return it->second;
  };
  id_of(output.impl()->node.get());
  for (std::size_t next = 0; next < queue.size(); ++next) {
    Node* node = queue[next];
    std::string label = node->is_leaf() ? leaf_names[node] : location(node->op->name, node->module);
    const std::string gap = label.empty() ? "" : "\\n";
    dot += fmt::format("  n{} [label=\"{}{}{}\"{}];\n", ids[node], escaped(label), gap,
                       node->shape.str(),
                       node->is_leaf() ? ", style=filled, fillcolor=\"#cfe3f7\"" : "");
    for (const Edge& edge : node->edges())
      if (edge.node) dot += fmt::format("  n{} -> n{};\n", id_of(edge.node.get()), ids[node]);
  }
  return dot + "}\n";
}

}  // namespace fovea
