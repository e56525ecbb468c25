// The backward pass: gradients of leaves for backward(), and of given tensors for grad().
#include <fovea/core/accumulate_detail.h>
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/kernels/float_mode.h>
#include <fovea/core/observe.h>

namespace fovea {
namespace {

using detail::accumulate;
using detail::is_exclusive;

// The gradient accumulator of a leaf.
struct LeafNode final : Node {
  LeafNode(const Shape& leaf_shape, DType leaf_dtype) : Node(nullptr) {
    shape = leaf_shape;
    dtype = leaf_dtype;
    module = nullptr;
  }
  Grads backward(std::span<const Tensor>, NeedsGrad) override { return {}; }
  void release_saved() override {}

  Tensor grad;
};

void accumulate_leaf(LeafNode& leaf, Tensor dy) {
  // A leaf owns its gradient: a caller's seed, or a gradient shared by two leaves, is copied.
  const bool own = leaf.grad.defined() || is_exclusive(dy);
  accumulate(leaf.grad, own ? std::move(dy) : dy.clone());
}

// --- the backward pass -----------------------------------------------------------------------

struct Target {  // an input of grad() and its gradient
  Node* node;
  std::uint32_t output_nr;
  Tensor grad;
};

bool fits(const Tensor& g, const Node& node, std::uint32_t output) {
  return g.shape() == node.output_shape(output) && g.dtype() == node.dtype;
}

// The modes of a backward pass: NaN tracing is done per node, so that errors name its op; the
// gradient audit is off; ops inside a backward are observed only under create_graph.
class BackwardMode {
 public:
  explicit BackwardMode(const BackwardOptions& options) : before_(autograd_mode) {
    ObserveOps* observe = before_.observed ? before_.observe : nullptr;
    autograd_mode = {.grad_enabled = options.create_graph,
                     .observed = observe && options.create_graph,
                     .observe = observe};
    if (observe) frame_.emplace(*observe);
  }
  ~BackwardMode() { autograd_mode = before_; }
  BackwardMode(const BackwardMode&) = delete;
  BackwardMode& operator=(const BackwardMode&) = delete;

  bool observed() const { return before_.observed; }
  bool traces_non_finite() const { return before_.trace_non_finite; }
  void finish() {
    if (!frame_) return;
    frame_->finish({"backward", OpEvent::Pass::walk, ModuleTrail::current(), nullptr});
    if (autograd_mode.observe->depth() == 0) autograd_mode.observe->end_of_walk();
  }

 private:
  AutogradMode before_;
  std::optional<ObserveOps::Frame> frame_;
};

// The nodes hold the state of the pass, which saves hash lookups. A nested pass (checkpoint)
// suspends the outer pass's state; the destructor restores it and clears pending gradients.
class BackwardPass {
 public:
  BackwardPass(BackwardOptions options, std::span<Target> targets, bool to_leaves)
      : mode_(options), options_(options), targets_(targets), to_leaves_(to_leaves) {}
  ~BackwardPass() {
    for (Node* node : order_) forget(*node);
    for (Suspended& s : suspended_) resume(s);
  }
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  void add_root(const Tensor& output, Tensor seed) {
    roots_.push_back(output.impl()->node);
    search(output.impl()->node.get());
    accumulate(output.impl()->node->pending_of(output.impl()->output_nr), std::move(seed));
  }

  void run() {
    const kernels::FloatMode mode;
    // Every consumer of a node comes after it in order_.
    while (!order_.empty()) {
      Node& node = *order_.back();
      if (node.needed) visit(node);
      forget(node);
      order_.pop_back();
    }
    mode_.finish();
  }

 private:
  struct Suspended {
    Node* node;
    std::uint64_t walk;
    bool needed;
    std::uint32_t next_edge;
    Tensor pending;
    std::vector<Tensor> more_pending;
  };

  static void forget(Node& node) {
    node.walk = 0;
    node.pending = {};
    if (node.more) node.more->pending.clear();
  }

  static void resume(Suspended& s) {
    s.node->walk = s.walk;
    s.node->needed = s.needed;
    s.node->next_edge = s.next_edge;
    s.node->pending = std::move(s.pending);
    if (s.node->more) s.node->more->pending = std::move(s.more_pending);
  }

  // Iterative depth-first search; a node enters order_ after all nodes that it depends on. Roots
  // are appended in order of their search, so one order is valid for several roots.
  void search(Node* root) {
    enter(root);
    while (!stack_.empty()) {
      Node* node = stack_.back();
      const std::span<Edge> edges = node->edges();
      if (node->next_edge < edges.size()) {
        Node* input = edges[node->next_edge++].node.get();
        if (input != nullptr) enter(input);
      } else {
        for (const Edge& edge : edges) node->needed |= edge.node && edge.node->needed;
        order_.push_back(node);
        stack_.pop_back();
      }
    }
  }

  void enter(Node* node) {
    if (node->walk == id_) return;
    if (node->walk != 0) suspend(*node);
    node->walk = id_;
    node->next_edge = 0;
    node->needed = (to_leaves_ && node->is_leaf()) || is_target(*node);
    stack_.push_back(node);
  }

  void suspend(Node& node) {
    suspended_.push_back({&node, node.walk, node.needed, node.next_edge, std::move(node.pending),
                          node.more ? std::move(node.more->pending) : std::vector<Tensor>()});
    forget(node);
  }

  bool is_target(const Node& node) const {
    for (const Target& target : targets_)
      if (target.node == &node) return true;
    return false;
  }

  void visit(Node& node) {
    const std::size_t outputs = node.num_outputs();
    if (outputs == 1) {
      Tensor dy = std::move(node.pending);
      finish(node, std::span(&dy, 1));
    } else {
      std::vector<Tensor> dys(outputs);
      for (std::size_t i = 0; i < outputs; ++i) dys[i] = std::move(node.pending_of(i));
      finish(node, dys);
    }
  }

  // Called when the gradients of all outputs of the node are complete.
  void finish(Node& node, std::span<Tensor> dys) {
    if (node.more) call_hooks(node, dys);
    bool any = false;
    for (Tensor& dy : dys) any |= dy.defined();
    if (!any) return;  // no output of this node received a gradient
    for (Target& target : targets_)
      if (target.node == &node) target.grad = dys[target.output_nr];
    if (node.is_leaf()) {
      if (to_leaves_) accumulate_leaf(static_cast<LeafNode&>(node), std::move(dys[0]));
      return;
    }
    for (Tensor& dy : dys)
      if (dy.defined() && !node.any_strides && !dy.is_contiguous()) dy = dy.contiguous();
    backward_through(node, dys);
  }

  static void call_hooks(Node& node, std::span<Tensor> dys) {
    for (std::size_t i = 0; i < node.more->hooks.size(); ++i) {
      const auto [output, hook] = node.more->hooks[i];  // a copy: a hook may register hooks
      if (!dys[output].defined()) continue;
      Tensor replaced = hook(dys[output]);
      if (!replaced.defined()) continue;
      if (!fits(replaced, node, output))
        shape_error("hook",
                    "returned a gradient {} {} for a tensor {} {}: shape and dtype must be equal",
                    replaced.shape().str(), name_of(replaced.dtype()),
                    node.output_shape(output).str(), name_of(node.dtype));
      dys[output] = std::move(replaced);
    }
    for (auto& [output, kept] : node.more->retained)
      if (dys[output].defined()) accumulate(kept, dys[output]);
  }

  void backward_through(Node& node, std::span<Tensor> dys) {
    const std::span<Edge> edges = node.edges();
    std::uint64_t mask = 0;
    for (std::size_t i = 0; i < edges.size() && i < 64; ++i)
      if (edges[i].node && edges[i].node->needed) mask |= std::uint64_t{1} << i;
    if (mask == 0 && edges.size() <= 64) return;

    const ModuleTrail trail(node.module);
    if (node.freed)
      state_error(node.op->name,
                  "backward: its saved tensors were freed by an earlier backward(): pass "
                  "retain_graph = true to the first one");
    Grads grads = mode_.observed() ? detail::observed_backward(node, dys, NeedsGrad(mask),
                                                               mode_.traces_non_finite())
                                   : node.backward(dys, NeedsGrad(mask));
    if (grads.size() != edges.size())
      state_error(node.op->name, "backward returned {} gradients for {} inputs", grads.size(),
                  edges.size());
    for (std::size_t i = 0; i < edges.size(); ++i) {
      Edge& edge = edges[i];
      if (!grads[i].defined() || !edge.node || !edge.node->needed) continue;
      check_grad(node, i, grads[i], edge);
      accumulate(edge.node->pending_of(edge.output_nr), std::move(grads[i]));
    }
    if (!options_.retain_graph && !options_.create_graph) {
      node.release_saved();
      node.freed = true;
      if (mode_.observed() && autograd_mode.observe) autograd_mode.observe->forget(node);
    }
  }

  static void check_grad(const Node& node, std::size_t i, const Tensor& g, const Edge& edge) {
    if (fits(g, *edge.node, edge.output_nr)) return;
    shape_error(node.op->name,
                "backward returned a gradient {} {} for input {}, which is {} {}: shape and dtype "
                "must be equal",
                g.shape().str(), name_of(g.dtype()), i,
                edge.node->output_shape(edge.output_nr).str(), name_of(edge.node->dtype));
  }

  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  BackwardMode mode_;
  BackwardOptions options_;
  std::span<Target> targets_;
  bool to_leaves_;
  std::uint64_t id_ = next_id();
  std::vector<Ref<Node>> roots_;  // own the graph, in case a hook releases it
  std::vector<Node*, PoolAllocator<Node*>> stack_, order_;
  std::vector<Suspended> suspended_;
};

Tensor checked_seed(const char* what, const Tensor& output, const Tensor& seed) {
  if (!output.requires_grad())
    state_error(what,
                "the tensor {} does not require a gradient: no tensor that it was computed from "
                "does, or it was computed under NoGrad or detached",
                output.shape().str());
  if (!seed.defined()) {
    if (output.numel() != 1)
      state_error(what, "the tensor {} has {} elements: must have exactly one if no seed is given",
                  output.shape().str(), output.numel());
    return full(output.shape(), 1.0, output.dtype());
  }
  if (!(seed.shape() == output.shape()) || seed.dtype() != output.dtype())
    shape_error(what, "seed {} {} for a tensor {} {}: shape and dtype must be equal",
                seed.shape().str(), name_of(seed.dtype()), output.shape().str(),
                name_of(output.dtype()));
  return seed;
}

// The stored gradient of x: of a leaf, or of a tensor with retain_grad(); else null.
Tensor* stored_gradient(const TensorImpl& x) {
  Node* node = x.node.get();
  if (node == nullptr) return nullptr;
  if (node->is_leaf()) return &static_cast<LeafNode*>(node)->grad;
  if (node->more)
    for (auto& [output, kept] : node->more->retained)
      if (output == x.output_nr) return &kept;
  return nullptr;
}

}  // namespace

// --- gradients of a Tensor -----------------------------------------------------------------------

bool Tensor::is_leaf() const {
  const Ref<Node>& node = checked("is_leaf").node;
  return !node || node->is_leaf();
}

Tensor& Tensor::set_requires_grad(bool on) {
  checked("set_requires_grad");
  if (!is_leaf())
    state_error("set_requires_grad",
                "the tensor {} was made by {}: must be a leaf: call detach() before", shape().str(),
                impl_->node->op->name);
  if (on && !is_floating(dtype()))
    dtype_error("set_requires_grad", "dtype = {}: must be f32 or f64", name_of(dtype()));
  if (on && !impl_->node) {
    impl_->node = Ref<Node>::adopt(new LeafNode(shape(), dtype()));
  } else if (!on) {
    impl_->node = {};
  }
  return *this;
}

Tensor Tensor::grad() const {
  const Tensor* kept = stored_gradient(checked("grad"));
  return kept ? *kept : Tensor();
}

void Tensor::set_grad(const Tensor& grad) {
  checked("set_grad");
  if (!requires_grad() || !is_leaf())
    state_error("set_grad", "the tensor {} is not a leaf that requires a gradient", shape().str());
  if (grad.defined() && (!(grad.shape() == shape()) || grad.dtype() != dtype()))
    shape_error("set_grad", "a gradient {} {} for a tensor {} {}: shape and dtype must be equal",
                grad.shape().str(), name_of(grad.dtype()), shape().str(), name_of(dtype()));
  static_cast<LeafNode&>(*impl_->node).grad = grad;
}

void Tensor::zero_grad() {
  if (Tensor* kept = stored_gradient(checked("zero_grad"))) *kept = {};
}

void Tensor::retain_grad() {
  checked("retain_grad");
  if (!requires_grad())
    state_error("retain_grad", "the tensor {} does not require a gradient", shape().str());
  if (stored_gradient(*impl_)) return;  // a leaf, or called before
  impl_->node->extra().retained.emplace_back(impl_->output_nr, Tensor());
}

void Tensor::register_hook(std::function<Tensor(const Tensor&)> hook) {
  checked("register_hook");
  if (!requires_grad())
    state_error("register_hook", "the tensor {} does not require a gradient", shape().str());
  impl_->node->extra().hooks.emplace_back(impl_->output_nr, std::move(hook));
}

void Tensor::backward(const Tensor& seed, BackwardOptions options) const {
  checked("backward");
  BackwardPass pass(options, {}, /*to_leaves=*/true);
  pass.add_root(*this, checked_seed("backward", *this, seed));
  pass.run();
}

std::vector<Tensor> grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                         std::span<const Tensor> seeds, BackwardOptions options,
                         bool allow_unused) {
  if (!seeds.empty() && seeds.size() != outputs.size())
    value_error("grad", "{} seeds for {} outputs: must be one per output, or none", seeds.size(),
                outputs.size());
  check_all_defined("grad", "output", outputs);
  check_all_defined("grad", "input", inputs);
  std::vector<Target> targets;
  for (const Tensor& input : inputs) {
    if (!input.requires_grad())
      state_error("grad", "input {} of shape {} does not require a gradient", targets.size(),
                  input.shape().str());
    targets.push_back({input.impl()->node.get(), input.impl()->output_nr, {}});
  }
  {
    BackwardPass pass(options, targets, /*to_leaves=*/false);
    for (std::size_t i = 0; i < outputs.size(); ++i)
      pass.add_root(outputs[i],
                    checked_seed("grad", outputs[i], seeds.empty() ? Tensor() : seeds[i]));
    pass.run();
  }
  std::vector<Tensor> grads;
  for (Target& target : targets) {
    if (!target.grad.defined() && !allow_unused)
      state_error("grad",
                  "no output depends on input {} of shape {}: pass allow_unused = true to get "
                  "an undefined tensor for it",
                  grads.size(), target.node->shape.str());
    grads.push_back(std::move(target.grad));
  }
  return grads;
}

Tensor grad(const Tensor& output, const Tensor& input, BackwardOptions options) {
  return grad(std::span(&output, 1), std::span(&input, 1), {}, options)[0];
}

}  // namespace fovea
