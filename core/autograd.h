// Reverse-mode automatic differentiation: the recorded graph and the backward pass.
//
// An op computes its output and calls record() with a backward function, a callable that maps the
// gradient of the output to the gradients of the inputs; its captures are the saved tensors. An op
// only returns gradients, the engine accumulates them (Griewank and Walther, Evaluating
// Derivatives, 2008, ch. 3).
#pragma once

#include <fovea/core/tensor.h>

#include <array>
#include <memory>
#include <optional>
#include <type_traits>

namespace fovea {

// --- modes ---------------------------------------------------------------------------------------

/// The autograd modes of this thread. Only scope objects (NoGrad, TraceNonFinite, ...) change them.
struct AutogradMode {
  bool grad_enabled = true;
  bool observed = false;  ///< one of the modes below is on: the only flag that an op tests
  bool trace_non_finite = false;
  class GradientAudit* audit = nullptr;
  class ObserveOps* observe = nullptr;  ///< set with `observed` false: inside an op observed as one

  bool has_observer() const { return trace_non_finite || audit || observe; }  ///< any of them is on
};
inline thread_local constinit AutogradMode autograd_mode{};

inline bool grad_enabled() { return autograd_mode.grad_enabled; }

/// Ops inside this scope are not recorded.
class NoGrad {
 public:
  explicit NoGrad(bool on = true) : before_(autograd_mode.grad_enabled) {
    autograd_mode.grad_enabled = !on;
  }
  ~NoGrad() { autograd_mode.grad_enabled = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// --- arguments and results of a backward function ------------------------------------------------

/// Which inputs need a gradient: `if (needs_grad[0]) grads[0] = ...`.
class NeedsGrad {
 public:
  explicit NeedsGrad(std::uint64_t mask) : mask_(mask) {}
  bool operator[](std::size_t input) const { return input >= 64 || ((mask_ >> input) & 1) != 0; }

 private:
  std::uint64_t mask_;
};

/// The gradients of an op's inputs, in the order of the inputs; undefined where there is none.
class Grads {
 public:
  Grads() = default;
  explicit Grads(std::size_t n) : size_(n) {
    if (n > kInline) more_.resize(n - kInline);
  }
  Grads(Tensor g0) : size_(1) { few_[0] = std::move(g0); }
  Grads(Tensor g0, Tensor g1) : size_(2) {
    few_[0] = std::move(g0);
    few_[1] = std::move(g1);
  }
  Grads(Tensor g0, Tensor g1, Tensor g2) : size_(3) {
    few_[0] = std::move(g0);
    few_[1] = std::move(g1);
    few_[2] = std::move(g2);
  }
  std::size_t size() const { return size_; }
  Tensor& operator[](std::size_t i) { return i < kInline ? few_[i] : more_[i - kInline]; }

 private:
  static constexpr std::size_t kInline = 3;  // enough for nearly every op; more are allocated
  std::size_t size_ = 0;
  std::array<Tensor, kInline> few_;
  std::vector<Tensor> more_;
};

namespace detail {
void note_saved(const Tensor& x);  ///< reports a saved tensor to the observer, if there is one
void mark_begin();                 ///< reports the beginning of a module's forward
}  // namespace detail

/// A tensor saved for backward. StateError when it is read after its values were overwritten.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x) : tensor_(x), version_(x.impl()->storage->version()) {
    if (autograd_mode.observed) [[unlikely]]
      detail::note_saved(x);
  }
  operator const Tensor&() const { return get(); }
  const Tensor& get() const {
    if (tensor_.defined() && tensor_.impl()->storage->version() != version_) overwritten();
    return tensor_;
  }
  bool defined() const { return tensor_.defined(); }

 private:
  [[noreturn]] void overwritten() const;
  Tensor tensor_;
  std::uint32_t version_ = 0;
};

/// Saves `x` for backward; saves nothing under NoGrad.
inline Saved keep(const Tensor& x) { return grad_enabled() && x.defined() ? Saved(x) : Saved(); }
inline Saved keep_if(bool condition, const Tensor& x) { return condition ? keep(x) : Saved(); }

// --- the graph -----------------------------------------------------------------------------------

/// The name of an op, registered before main(): registered_ops() lists all ops of the program.
struct OpInfo {
  const char* name;
  bool differentiable;
};
std::vector<OpInfo> registered_ops();

struct Edge {
  Ref<Node> node;  ///< null: this input does not require a gradient
  std::uint32_t output_nr = 0;
};

/// A node of the graph: a recorded op, or the gradient accumulator of a leaf (without edges).
struct Node : Pooled {
  explicit Node(const OpInfo* info) : op(info), module(ModuleTrail::current()) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node();

  virtual Grads backward(std::span<const Tensor> dys, NeedsGrad needs_grad) = 0;
  virtual void release_saved() = 0;

  void retain() { refs.add(); }
  void release() noexcept {
    if (refs.drop()) bury(this);
  }
  static void bury(Node* node) noexcept;  ///< frees a graph of any depth without recursion

  std::span<Edge> edges() const { return edge_span; }
  bool is_leaf() const { return op == nullptr; }
  std::size_t num_outputs() const { return more ? more->shapes.size() + 1 : 1; }
  const Shape& output_shape(std::size_t i) const { return i == 0 ? shape : more->shapes[i - 1]; }

  /// Data that few nodes have, allocated on demand.
  struct Extra : Pooled {
    std::vector<Shape> shapes;    ///< of outputs 1, 2, ...
    std::vector<Tensor> pending;  ///< their gradients during a backward pass
    std::vector<std::pair<std::uint32_t, std::function<Tensor(const Tensor&)>>> hooks;
    std::vector<std::pair<std::uint32_t, Tensor>> retained;
  };
  Extra& extra();
  Tensor& pending_of(std::size_t output);

  RefCount refs;
  DType dtype = DType::f32;
  bool freed = false;           ///< the saved tensors were freed
  bool any_strides = false;     ///< the backward takes dys of any strides; else made contiguous
  bool needed = false;          ///< in this pass: leads to a tensor that requires a gradient
  std::uint32_t next_edge = 0;  ///< in this pass: the next edge of the depth-first search
  const OpInfo* op;             ///< null for a leaf's accumulator
  const std::string* module;    ///< where it was recorded; null outside every module
  std::uint64_t walk = 0;       ///< the backward pass that this state belongs to; 0: none
  std::span<Edge> edge_span;    ///< one per input; stored in the derived class
  Node* next_dead = nullptr;    ///< link in the queue of bury()
  Tensor pending;               ///< gradient of output 0 accumulated so far
  std::unique_ptr<Extra> more;
  Shape shape;  ///< of output 0
};

namespace detail {

template <class F>
struct AnyStrides : F {
  using F::operator();
};
template <class F>
inline constexpr bool takes_any_strides = false;
template <class F>
inline constexpr bool takes_any_strides<AnyStrides<F>> = true;

struct OpName {
  template <std::size_t N>
  consteval OpName(const char (&text)[N]) {
    static_assert(N <= sizeof(chars), "an op's name has at most 31 characters");
    for (std::size_t i = 0; i < N; ++i) chars[i] = text[i];
  }
  char chars[32] = {};
};

bool register_op(const OpInfo* op);

// One object per op name. A constant, because ops may run before main(); the entry in the registry
// is made before main(), too.
template <OpName Name, bool Differentiable>
inline constexpr OpInfo op_info{Name.chars, Differentiable};
template <OpName Name, bool Differentiable>
inline const bool is_registered = register_op(&op_info<Name, Differentiable>);

template <OpName Name, bool Differentiable>
const OpInfo* op() {
  static_cast<void>(is_registered<Name, Differentiable>);  // instantiates the registration
  return &op_info<Name, Differentiable>;
}

/// A reference to an input tensor: `{a, b}` copies no Tensor.
struct Input {
  Input(const Tensor& x) : tensor(&x) {}
  const Tensor* tensor;
};

inline bool any_requires_grad(std::span<const Input> inputs) {
  for (const Input& input : inputs)
    if (input.tensor->defined() && input.tensor->requires_grad()) return true;
  return false;
}

inline void connect(Edge& edge, const Tensor& input) {
  if (!input.defined() || !input.requires_grad()) return;
  edge.node = input.impl()->node;
  edge.output_nr = input.impl()->output_nr;
}

void attach(Tensor& y, Ref<Node> node, std::uint32_t output_nr);
void after_forward(const OpInfo* op, std::span<const Tensor> outputs, std::span<const Input> inputs,
                   bool cut);

// The output `y` for a backward that takes it, rebuilt from its storage: a node that owned its own
// output would never be freed.
struct SavedOutput {
  Ref<Storage> storage;
  std::byte* data = nullptr;
  std::uint32_t version = 0;
  explicit SavedOutput(const Tensor& y);
  Tensor get(Node& self) const;
};

template <class F>
concept TakesOneGradient = std::is_invocable_r_v<Grads, F&, const Tensor&, NeedsGrad>;
template <class F>
concept TakesAllGradients = std::is_invocable_r_v<Grads, F&, std::span<const Tensor>, NeedsGrad>;
template <class F>
concept TakesOutput = std::is_invocable_r_v<Grads, F&, const Tensor&, const Tensor&, NeedsGrad>;

template <class F>
struct Closure {  // a backward function without the output
  F f;
  template <class G>
  Closure(G&& function, const Tensor&) : f(std::forward<G>(function)) {}
  Grads operator()(Node&, std::span<const Tensor> dys, NeedsGrad needs_grad) {
    if constexpr (TakesAllGradients<F>) {
      return f(dys, needs_grad);
    } else {
      return f(dys[0], needs_grad);
    }
  }
};
template <class F>
struct ClosureWithOutput {  // a backward function and the saved output
  F f;
  SavedOutput y;
  template <class G>
  ClosureWithOutput(G&& function, const Tensor& output) : f(std::forward<G>(function)), y(output) {}
  Grads operator()(Node& self, std::span<const Tensor> dys, NeedsGrad needs_grad) {
    return f(dys[0], y.get(self), needs_grad);
  }
};

/// A recorded op in one allocation: edges and captures are members.
template <class F, class Edges>
struct OpNode final : Node {
  using Body = std::conditional_t<TakesOutput<F>, ClosureWithOutput<F>, Closure<F>>;
  template <class G>
  OpNode(const OpInfo* info, G&& f, const Tensor& y, Edges edges)
      : Node(info), edge_list(std::move(edges)) {
    edge_span = edge_list;
    any_strides = takes_any_strides<F>;
    body.emplace(std::forward<G>(f), y);
  }
  Grads backward(std::span<const Tensor> dys, NeedsGrad needs_grad) override {
    return (*body)(*this, dys, needs_grad);
  }
  void release_saved() override { body.reset(); }

  std::optional<Body> body;
  Edges edge_list;
};

template <class Edges, class F>
void record_node(const OpInfo* op, std::span<Tensor> outputs, std::span<const Input> inputs, F&& f,
                 Edges edges) {
  if (grad_enabled() && any_requires_grad(inputs)) {
    auto* node =
        new OpNode<std::decay_t<F>, Edges>(op, std::forward<F>(f), outputs[0], std::move(edges));
    auto owner = Ref<Node>::adopt(node);  // owns the node until the outputs do
    for (std::size_t i = 0; i < inputs.size(); ++i) connect(node->edge_list[i], *inputs[i].tensor);
    for (std::size_t i = 1; i < outputs.size(); ++i)
      attach(outputs[i], owner, static_cast<std::uint32_t>(i));
    attach(outputs[0], std::move(owner), 0);
  }
  if (autograd_mode.observed) [[unlikely]]
    after_forward(op, outputs, inputs, !grad_enabled() && any_requires_grad(inputs));
}

}  // namespace detail

/// For record(): marks a backward that takes dys of any strides. Other backwards receive contiguous
/// dys; a gradient that is a view is copied for them.
template <class F>
detail::AnyStrides<F> any_strides(F backward) {
  return {std::move(backward)};
}

/// Records `y = Name(inputs)` and returns y. `backward` is one of
///   (const Tensor& dy, NeedsGrad) -> Grads
///   (const Tensor& dy, const Tensor& y, NeedsGrad) -> Grads       saves the output as well
/// and returns one gradient per input, of the input's shape. It runs under NoGrad, except with
/// create_graph: then grad_enabled() is true and it must use recorded ops only. y must be a new
/// tensor that this op made and that no other code holds. User-defined ops use the same function.
template <detail::OpName Name, std::size_t N, class F>
Tensor record(Tensor y, const detail::Input (&inputs)[N], F&& backward) {
  static_assert(detail::TakesOneGradient<std::decay_t<F>> || detail::TakesOutput<std::decay_t<F>>);
  detail::record_node(detail::op<Name, true>(), std::span(&y, 1), std::span(inputs),
                      std::forward<F>(backward), std::array<Edge, N>{});
  return y;
}

/// The same for a number of inputs known only at run time (concat, stack).
template <detail::OpName Name, class F>
Tensor record(Tensor y, std::span<const Tensor> inputs, F&& backward) {
  static_assert(detail::TakesOneGradient<std::decay_t<F>> || detail::TakesOutput<std::decay_t<F>>);
  const std::vector<detail::Input> refs(inputs.begin(), inputs.end());
  detail::record_node(detail::op<Name, true>(), std::span(&y, 1), std::span(refs),
                      std::forward<F>(backward), std::vector<Edge>(refs.size()));
  return y;
}

/// Several outputs; backward: (std::span<const Tensor> dys, NeedsGrad) -> Grads, where the gradient
/// of an unused output is undefined.
template <detail::OpName Name, std::size_t N, class F>
std::vector<Tensor> record_outputs(std::vector<Tensor> ys, const detail::Input (&inputs)[N],
                                   F&& backward) {
  static_assert(detail::TakesAllGradients<std::decay_t<F>>);
  detail::record_node(detail::op<Name, true>(), std::span(ys), std::span(inputs),
                      std::forward<F>(backward), std::array<Edge, N>{});
  return ys;
}
template <detail::OpName Name, class F>
std::vector<Tensor> record_outputs(std::vector<Tensor> ys, std::span<const Tensor> inputs,
                                   F&& backward) {
  static_assert(detail::TakesAllGradients<std::decay_t<F>>);
  const std::vector<detail::Input> refs(inputs.begin(), inputs.end());
  detail::record_node(detail::op<Name, true>(), std::span(ys), std::span(refs),
                      std::forward<F>(backward), std::vector<Edge>(refs.size()));
  return ys;
}

/// For ops without a derivative (argmax, comparisons): reports to observers, such as the gradient
/// audit, that a gradient path ends here.
template <detail::OpName Name, std::size_t N>
Tensor record_cut(Tensor y, const detail::Input (&inputs)[N]) {
  if (autograd_mode.observed) [[unlikely]]
    detail::after_forward(detail::op<Name, false>(), std::span(&y, 1), std::span(inputs),
                          detail::any_requires_grad(std::span(inputs)));
  return y;
}

// --- the backward pass ---------------------------------------------------------------------------
// The nodes hold the state of the pass: only one backward pass at a time over a graph and its
// leaves. Threads that train independently need separate leaves.

/// The gradients of `outputs` with respect to `inputs`, as torch.autograd.grad. Each output is
/// weighted by its seed (grad_outputs); without seeds, by 1, for outputs of one element. The grad()
/// of leaves does not change. An input that no output depends on gives an undefined tensor if
/// allow_unused, else StateError.
std::vector<Tensor> grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                         std::span<const Tensor> seeds = {}, BackwardOptions options = {},
                         bool allow_unused = false);
Tensor grad(const Tensor& output, const Tensor& input, BackwardOptions options = {});

/// Second derivatives by the reference implementation: runs `reference` on `inputs` with recording
/// and returns the gradients of its outputs, weighted by `dys`, as recorded tensors. For backward
/// functions of fused ops under create_graph. An undefined dy: that output was not used.
Grads backward_by_reference(
    const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& reference,
    std::span<const Tensor> inputs, std::span<const Tensor> dys, NeedsGrad needs_grad);

/// y = f(inputs), saving only the inputs: the backward computes f again (Chen et al. 2016, Training
/// Deep Nets with Sublinear Memory Cost). f must be a pure function of its inputs, of leaves and of
/// the draws that it takes from Rngs on this thread: in the backward it receives the same draws
/// again, and each generator keeps its position. Every Rng and every other object that f refers to
/// must outlive the backward.
Tensor checkpoint(const std::function<Tensor(std::span<const Tensor>)>& f,
                  std::span<const Tensor> inputs);

}  // namespace fovea
