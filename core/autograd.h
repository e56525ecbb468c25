// Reverse-mode automatic differentiation: recording ops, and walking the record backwards.
//
// An op computes its value and calls record(). The callable that it passes returns the gradients of
// its inputs, given the gradient of its output; what the callable captures is what the op keeps.
// The engine adds, ops return (Griewank and Walther, Evaluating Derivatives, 2008, ch. 3).
#pragma once

#include <fovea/core/tensor.h>

#include <array>
#include <memory>
#include <optional>
#include <type_traits>

namespace fovea {

// --- modes ---------------------------------------------------------------------------------------

/// What this thread does while it computes. Only the scopes below change it.
struct AutogradMode {
  bool grad_enabled = true;
  bool watched = false;  ///< one of those below is on: all that an op looks at
  bool trace_non_finite = false;
  class GradientAudit* audit = nullptr;
  class ObserveOps* observe = nullptr;  ///< without `watched`: inside an op that is seen as a whole

  bool watcher() const { return trace_non_finite || audit || observe; }  ///< is there one?
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

// --- what a backward sees ------------------------------------------------------------------------

/// Which inputs need a gradient: `if (wanted[0]) grads[0] = ...`.
class Wanted {
 public:
  explicit Wanted(std::uint64_t mask) : mask_(mask) {}
  bool operator[](std::size_t input) const { return input >= 64 || ((mask_ >> input) & 1) != 0; }

 private:
  std::uint64_t mask_;
};

/// The gradients of an op's inputs, in their order; undefined where there is none.
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
  static constexpr std::size_t kInline = 3;  // nearly every op; more than that pays an allocation
  std::size_t size_ = 0;
  std::array<Tensor, kInline> few_;
  std::vector<Tensor> more_;
};

namespace detail {
void note_kept(const Tensor& x);  ///< tells the observer, if there is one
void mark_begin();                ///< the same: where a module's forward begins
}  // namespace detail

/// A tensor kept for backward. Using it after its numbers were overwritten is a StateError.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x) : tensor_(x), version_(x.impl()->storage->version()) {
    if (autograd_mode.watched) [[unlikely]]
      detail::note_kept(x);
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

/// Keeps `x` for the backward; keeps nothing where nothing is being recorded.
inline Saved keep(const Tensor& x) { return grad_enabled() && x.defined() ? Saved(x) : Saved(); }
inline Saved keep_if(bool condition, const Tensor& x) { return condition ? keep(x) : Saved(); }

// --- the record ----------------------------------------------------------------------------------

/// An op's name, known to the program before the op has run: registered_ops() lists them all.
struct OpInfo {
  const char* name;
  bool differentiable;
};
std::vector<OpInfo> registered_ops();

struct Edge {
  Ref<Node> node;  ///< null: this input needs no gradient
  std::uint32_t output_nr = 0;
};

/// One recorded op, or the accumulator of a leaf (which has no edges).
struct Node : Pooled {
  explicit Node(const OpInfo* info) : op(info), module(ModuleTrail::current()) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node();

  virtual Grads backward(std::span<const Tensor> dys, Wanted wanted) = 0;
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

  /// What only few nodes have.
  struct Extra : Pooled {
    std::vector<Shape> shapes;    ///< of outputs 1, 2, ...
    std::vector<Tensor> pending;  ///< their gradients during a walk
    std::vector<std::pair<std::uint32_t, std::function<Tensor(const Tensor&)>>> hooks;
    std::vector<std::pair<std::uint32_t, Tensor>> retained;
  };
  Extra& extra();
  Tensor& pending_of(std::size_t output);

  RefCount refs;
  DType dtype = DType::f32;
  bool freed = false;           ///< the saved tensors are gone
  bool any_strides = false;     ///< the backward takes dys as they lie; else they come dense
  bool needed = false;          ///< in this walk: leads to something that wants a gradient
  std::uint32_t next_edge = 0;  ///< in this walk: where the search stands
  const OpInfo* op;             ///< null for a leaf's accumulator
  const std::string* module;    ///< where it was recorded; null outside every module
  std::uint64_t walk = 0;       ///< the walk that this state belongs to; 0: none
  std::span<Edge> edge_span;    ///< one for each input; they lie in the derived node
  Node* next_dead = nullptr;    ///< the queue of bury()
  Tensor pending;               ///< gradient by output 0 as far as it is known
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

// One object for each name that the program uses: a constant, so that it is there for ops that run
// before main(), and an entry in the register that is made before main().
template <OpName Name, bool Differentiable>
inline constexpr OpInfo op_info{Name.chars, Differentiable};
template <OpName Name, bool Differentiable>
inline const bool is_registered = register_op(&op_info<Name, Differentiable>);

template <OpName Name, bool Differentiable>
const OpInfo* op() {
  static_cast<void>(is_registered<Name, Differentiable>);  // naming it makes the entry
  return &op_info<Name, Differentiable>;
}

/// A reference to an input, so that `{a, b}` copies no handle.
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

// What a callable that takes `y` gets: the output, rebuilt without keeping its handle alive (a node
// that owned its own output would never be freed).
struct SavedOutput {
  Ref<Storage> storage;
  std::byte* data = nullptr;
  std::uint32_t version = 0;
  explicit SavedOutput(const Tensor& y);
  Tensor get(Node& self) const;
};

template <class F>
concept TakesOneGradient = std::is_invocable_r_v<Grads, F&, const Tensor&, Wanted>;
template <class F>
concept TakesAllGradients = std::is_invocable_r_v<Grads, F&, std::span<const Tensor>, Wanted>;
template <class F>
concept TakesOutput = std::is_invocable_r_v<Grads, F&, const Tensor&, const Tensor&, Wanted>;

template <class F>
struct Kept {  // the callable
  F f;
  template <class G>
  Kept(G&& function, const Tensor&) : f(std::forward<G>(function)) {}
  Grads operator()(Node&, std::span<const Tensor> dys, Wanted wanted) {
    if constexpr (TakesAllGradients<F>) {
      return f(dys, wanted);
    } else {
      return f(dys[0], wanted);
    }
  }
};
template <class F>
struct KeptWithOutput {  // the callable and the output
  F f;
  SavedOutput y;
  template <class G>
  KeptWithOutput(G&& function, const Tensor& output) : f(std::forward<G>(function)), y(output) {}
  Grads operator()(Node& self, std::span<const Tensor> dys, Wanted wanted) {
    return f(dys[0], y.get(self), wanted);
  }
};

/// The whole record of one op in one block: edges and captures inline.
template <class F, class Edges>
struct OpNode final : Node {
  using Body = std::conditional_t<TakesOutput<F>, KeptWithOutput<F>, Kept<F>>;
  template <class G>
  OpNode(const OpInfo* info, G&& f, const Tensor& y, Edges edges)
      : Node(info), edge_list(std::move(edges)) {
    edge_span = edge_list;
    any_strides = takes_any_strides<F>;
    body.emplace(std::forward<G>(f), y);
  }
  Grads backward(std::span<const Tensor> dys, Wanted wanted) override {
    return (*body)(*this, dys, wanted);
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
    auto owner = Ref<Node>::adopt(node);  // until the outputs own it
    for (std::size_t i = 0; i < inputs.size(); ++i) connect(node->edge_list[i], *inputs[i].tensor);
    for (std::size_t i = 1; i < outputs.size(); ++i)
      attach(outputs[i], owner, static_cast<std::uint32_t>(i));
    attach(outputs[0], std::move(owner), 0);
  }
  if (autograd_mode.watched) [[unlikely]]
    after_forward(op, outputs, inputs, !grad_enabled() && any_requires_grad(inputs));
}

}  // namespace detail

/// For record(): a backward that takes its dys as they lie. Other backwards get dense ones, which a
/// view's gradient would be copied for.
template <class F>
detail::AnyStrides<F> any_strides(F backward) {
  return {std::move(backward)};
}

/// Records `y = Name(inputs)` and gives it back. `backward` is one of
///   (const Tensor& dy, Wanted) -> Grads
///   (const Tensor& dy, const Tensor& y, Wanted) -> Grads       keeps the output as well
/// and returns one gradient for each input, of the input's shape. It runs without recording, or,
/// under create_graph, with recording: then (grad_enabled()) it must use recorded ops only. y must
/// be fresh: made by this op and not handed out before. Users' own ops call just the same.
template <detail::OpName Name, std::size_t N, class F>
Tensor record(Tensor y, const detail::Input (&inputs)[N], F&& backward) {
  static_assert(detail::TakesOneGradient<std::decay_t<F>> || detail::TakesOutput<std::decay_t<F>>);
  detail::record_node(detail::op<Name, true>(), std::span(&y, 1), std::span(inputs),
                      std::forward<F>(backward), std::array<Edge, N>{});
  return y;
}

/// As above, for a number of inputs that is known at run time only (concat, stack).
template <detail::OpName Name, class F>
Tensor record(Tensor y, std::span<const Tensor> inputs, F&& backward) {
  static_assert(detail::TakesOneGradient<std::decay_t<F>> || detail::TakesOutput<std::decay_t<F>>);
  const std::vector<detail::Input> refs(inputs.begin(), inputs.end());
  detail::record_node(detail::op<Name, true>(), std::span(&y, 1), std::span(refs),
                      std::forward<F>(backward), std::vector<Edge>(refs.size()));
  return y;
}

/// Several outputs; backward: (std::span<const Tensor> dys, Wanted) -> Grads, where the gradient of
/// an output that nothing used is undefined.
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

/// For ops without a derivative (argmax, comparisons): tells those who watch, such as the gradient
/// audit, that a path ends here.
template <detail::OpName Name, std::size_t N>
Tensor record_cut(Tensor y, const detail::Input (&inputs)[N]) {
  if (autograd_mode.watched) [[unlikely]]
    detail::after_forward(detail::op<Name, false>(), std::span(&y, 1), std::span(inputs),
                          detail::any_requires_grad(std::span(inputs)));
  return y;
}

// --- the walk ------------------------------------------------------------------------------------
// One walk at a time over a graph and its leaves: the nodes hold its state. Threads that train
// apart need leaves of their own.

/// The gradients of `outputs` (each weighted by its seed, or 1 for one element) by `inputs`;
/// leaves' own gradients are not touched. allow_unused: an input that no output depends on gives an
/// undefined tensor, else StateError.
std::vector<Tensor> grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                         std::span<const Tensor> seeds = {}, BackwardOptions options = {},
                         bool allow_unused = false);
Tensor grad(const Tensor& output, const Tensor& input, BackwardOptions options = {});

/// The slow twin's way to a second derivative: runs `twin` on `inputs` with recording and gives the
/// gradients of its outputs, weighted by `dys`, as recorded tensors. For a backward that is asked
/// for under create_graph. An undefined dy means that its output was not used.
Grads backward_by_twin(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& twin,
                       std::span<const Tensor> inputs, std::span<const Tensor> dys, Wanted wanted);

/// y = f(inputs), keeping only the inputs: the backward computes f again (Chen et al. 2016,
/// Training Deep Nets with Sublinear Memory Cost). f must be a pure function of its inputs, of
/// leaves and of the draws that it takes from Rngs on this thread: the backward gives it the same
/// draws again, and leaves each generator where it was. Every Rng that f uses must outlive the
/// backward, as all else that f refers to.
Tensor checkpoint(const std::function<Tensor(std::span<const Tensor>)>& f,
                  std::span<const Tensor> inputs);

}  // namespace fovea
