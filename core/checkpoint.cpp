// Backwards that recompute a forward: checkpoint(), and backward_by_reference().
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/observe.h>
#include <fovea/core/random.h>

#include <unordered_set>

namespace fovea {
namespace {

// The same values with a node of their own: the gradient of that node is a partial derivative, even
// if another input was computed from x.
Tensor with_own_node(const Tensor& x) {
  if (!x.defined()) return {};
  return record<"identity">(without_graph(x), {x},
                            [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
}

std::vector<Tensor> detached_leaves(std::span<const Tensor> inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    leaves.push_back(without_graph(x));
    if (x.requires_grad()) leaves.back().set_requires_grad();
  }
  return leaves;
}

// The leaves that y depends on other than the arguments, as empty tensors with the leaf's node:
// only their gradients are needed, not their values.
std::vector<Tensor> other_leaves(const Tensor& y, std::span<const Tensor> arguments) {
  std::unordered_set<const Node*> seen;
  for (const Tensor& x : arguments) seen.insert(x.impl()->node.get());
  std::vector<Ref<Node>> stack{y.impl()->node};
  std::vector<Tensor> leaves;
  while (!stack.empty()) {
    const Ref<Node> node = std::move(stack.back());
    stack.pop_back();
    if (!node || !seen.insert(node.get()).second) continue;
    for (const Edge& edge : node->edges()) stack.push_back(edge.node);
    if (!node->is_leaf()) continue;
    Tensor handle = empty({0}, node->dtype);
    handle.impl()->node = node;
    leaves.push_back(std::move(handle));
  }
  return leaves;
}

// The gradients of `ys` with respect to the `inputs` that need one, at the indices of the inputs.
Grads gradients_in_place(std::span<const Tensor> ys, std::span<const Tensor> inputs,
                         std::span<const Tensor> dys, NeedsGrad needs_grad, bool create_graph) {
  std::vector<Tensor> outputs, seeds, selected;
  std::vector<std::size_t> position;
  for (std::size_t i = 0; i < ys.size(); ++i)
    if (dys[i].defined() && ys[i].requires_grad()) {
      outputs.push_back(ys[i]);
      seeds.push_back(dys[i]);
    }
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (needs_grad[i] && inputs[i].defined() && inputs[i].requires_grad()) {
      selected.push_back(inputs[i]);
      position.push_back(i);
    }
  Grads grads(inputs.size());
  const std::vector<Tensor> found =
      grad(outputs, selected, seeds, {.create_graph = create_graph}, /*allow_unused=*/true);
  for (std::size_t i = 0; i < found.size(); ++i) grads[position[i]] = found[i];
  return grads;
}

}  // namespace

Grads backward_by_reference(
    const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& reference,
    std::span<const Tensor> inputs, std::span<const Tensor> dys, NeedsGrad needs_grad) {
  std::vector<Tensor> arguments;
  for (const Tensor& x : inputs) arguments.push_back(with_own_node(x));
  return gradients_in_place(reference(arguments), arguments, dys, needs_grad,
                            /*create_graph=*/true);
}

// dx = (df/dx)^T dy, with f recomputed with the same random draws. Saves the inputs.
Tensor checkpoint(const std::function<Tensor(std::span<const Tensor>)>& f,
                  std::span<const Tensor> inputs) {
  check_all_defined("checkpoint", "input", inputs);
  if (!grad_enabled()) return f(inputs);
  // The first run is recorded only to find the parameters that f uses; its graph is freed at once.
  Tensor y;
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  std::vector<detail::RngLog::Used> generators;
  {
    const detail::IgnoreSaved ignore_saved;
    const detail::RngLog log;
    const std::vector<Tensor> arguments = detached_leaves(inputs);
    const Tensor recorded = f(arguments);
    for (Tensor& leaf : other_leaves(recorded, arguments)) all.push_back(std::move(leaf));
    if (autograd_mode.audit) autograd_mode.audit->forget_leaves(arguments);
    y = without_graph(recorded);
    generators = log.used();
  }
  const std::vector<Tensor> parameters(all.begin() + static_cast<std::ptrdiff_t>(inputs.size()),
                                       all.end());
  std::vector<Saved> saved;
  for (const Tensor& x : inputs) saved.push_back(keep(x));
  return record<"checkpoint">(
      std::move(y), std::span<const Tensor>(all),
      [f, saved = std::move(saved), parameters, generators = std::move(generators)](
          const Tensor& dy, NeedsGrad needs_grad) -> Grads {
        const detail::ObserveInnerOps observe_inner;
        const bool create_graph = grad_enabled();
        std::vector<Tensor> arguments;
        for (const Saved& x : saved) arguments.push_back(x);
        const NoGrad recording(false);
        if (create_graph) {
          for (Tensor& x : arguments) x = with_own_node(x);
        } else {
          arguments = detached_leaves(arguments);
        }
        const Tensor recomputed = [&] {
          const detail::ReplayRngs draws(generators);
          return f(arguments);
        }();
        arguments.insert(arguments.end(), parameters.begin(), parameters.end());
        return gradients_in_place(std::span(&recomputed, 1), arguments, std::span(&dy, 1),
                                  needs_grad, create_graph);
      });
}

}  // namespace fovea
