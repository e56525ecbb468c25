// Backwards that run a forward again: checkpoint(), and the slow twin's way to second derivatives.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/observe.h>
#include <fovea/core/random.h>

#include <unordered_set>

namespace fovea {
namespace {

// The same numbers as a node of its own: the derivative by it is a partial one, even when another
// input was computed from x.
Tensor stand_in(const Tensor& x) {
  if (!x.defined()) return {};
  return record<"identity">(numbers_of(x), {x}, [](const Tensor& dy, Wanted) { return Grads(dy); });
}

std::vector<Tensor> detached_leaves(std::span<const Tensor> inputs) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    leaves.push_back(numbers_of(x));
    if (x.requires_grad()) leaves.back().set_requires_grad();
  }
  return leaves;
}

// The parameters that y depends on besides the arguments, as handles with the leaf's node and no
// numbers: their gradients have to flow, and nobody reads them here.
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

// The gradients of `ys` by those of `inputs` that want one, in the inputs' places.
Grads gradients_in_place(std::span<const Tensor> ys, std::span<const Tensor> inputs,
                         std::span<const Tensor> dys, Wanted wanted, bool create_graph) {
  std::vector<Tensor> outputs, seeds, asked;
  std::vector<std::size_t> place;
  for (std::size_t i = 0; i < ys.size(); ++i)
    if (dys[i].defined() && ys[i].requires_grad()) {
      outputs.push_back(ys[i]);
      seeds.push_back(dys[i]);
    }
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (wanted[i] && inputs[i].defined() && inputs[i].requires_grad()) {
      asked.push_back(inputs[i]);
      place.push_back(i);
    }
  Grads grads(inputs.size());
  const std::vector<Tensor> found =
      grad(outputs, asked, seeds, {.create_graph = create_graph}, /*allow_unused=*/true);
  for (std::size_t i = 0; i < found.size(); ++i) grads[place[i]] = found[i];
  return grads;
}

}  // namespace

Grads backward_by_twin(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& twin,
                       std::span<const Tensor> inputs, std::span<const Tensor> dys, Wanted wanted) {
  std::vector<Tensor> arguments;
  for (const Tensor& x : inputs) arguments.push_back(stand_in(x));
  return gradients_in_place(twin(arguments), arguments, dys, wanted, /*create_graph=*/true);
}

// dx = (df/dx)^T dy, with f computed again from the same random numbers. Keeps the inputs.
Tensor checkpoint(const std::function<Tensor(std::span<const Tensor>)>& f,
                  std::span<const Tensor> inputs) {
  check_all_defined("checkpoint", "input", inputs);
  if (!grad_enabled()) return f(inputs);
  // The first run is recorded only to learn which parameters f uses; its graph goes at once.
  Tensor y;
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  std::vector<detail::RngLog::Used> generators;
  {
    const detail::LetGo nothing_kept;
    const detail::RngLog log;
    const std::vector<Tensor> arguments = detached_leaves(inputs);
    const Tensor recorded = f(arguments);
    for (Tensor& leaf : other_leaves(recorded, arguments)) all.push_back(std::move(leaf));
    if (autograd_mode.audit) autograd_mode.audit->forget_leaves(arguments);
    y = numbers_of(recorded);
    generators = log.used();
  }
  const std::vector<Tensor> parameters(all.begin() + static_cast<std::ptrdiff_t>(inputs.size()),
                                       all.end());
  std::vector<Saved> kept;
  for (const Tensor& x : inputs) kept.push_back(keep(x));
  return record<"checkpoint">(
      std::move(y), std::span<const Tensor>(all),
      [f, kept = std::move(kept), parameters, generators = std::move(generators)](
          const Tensor& dy, Wanted wanted) -> Grads {
        const detail::SeeThrough through;
        const bool second = grad_enabled();
        std::vector<Tensor> arguments;
        for (const Saved& x : kept) arguments.push_back(x);
        const NoGrad recording(false);
        if (second) {
          for (Tensor& x : arguments) x = stand_in(x);
        } else {
          arguments = detached_leaves(arguments);
        }
        const Tensor again = [&] {
          const detail::ReplayRngs draws(generators);
          return f(arguments);
        }();
        arguments.insert(arguments.end(), parameters.begin(), parameters.end());
        return gradients_in_place(std::span(&again, 1), arguments, std::span(&dy, 1), wanted,
                                  second);
      });
}

}  // namespace fovea
