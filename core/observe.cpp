#include <fovea/core/diagnose.h>
#include <fovea/core/observe.h>

#include <chrono>

namespace fovea {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

TensorSize size_of_tensor(const Tensor& x) {
  return x.defined() ? TensorSize{true, x.shape(), x.dtype()} : TensorSize{};
}

OpSizes sizes_of_op(std::span<const Tensor> outputs, std::span<const detail::Input> inputs) {
  OpSizes sizes;
  for (const detail::Input& x : inputs) sizes.inputs.push_back(size_of_tensor(*x.tensor));
  for (const Tensor& y : outputs) sizes.outputs.push_back(size_of_tensor(y));
  return sizes;
}

}  // namespace

ObserveOps::ObserveOps(OpObserver& observer)
    : observer_(observer),
      outer_(autograd_mode.observe),
      outer_observed_(autograd_mode.observed),
      mark_ns_(now_ns()) {
  autograd_mode.observe = this;
  autograd_mode.observed = true;
}

// The outer scope may end first: the inner one then inherits the outer scope's predecessor.
ObserveOps::~ObserveOps() {
  AutogradMode& mode = autograd_mode;
  if (mode.observe == this) {
    mode.observe = outer_;
    mode.observed = (outer_observed_ || mode.trace_non_finite || mode.audit) && mode.has_observer();
    return;
  }
  for (ObserveOps* inner = mode.observe; inner; inner = inner->outer_) {
    if (inner->outer_ != this) continue;
    inner->outer_ = outer_;
    inner->outer_observed_ = outer_observed_;
    return;
  }
}

void ObserveOps::mark() {
  mark_ns_ = now_ns();
  drop_unfinished();
}

// Drops the state of an op that threw before it was recorded.
void ObserveOps::drop_unfinished() {
  work_ = -1;
  saving_.clear();
}

void ObserveOps::end_of_walk() {
  saved_.clear();
  saved_in_order_.clear();
}

void ObserveOps::keep(const Tensor& x) {
  if (ignore_saved_) return;
  if (x.requires_grad() && x.is_leaf()) return;
  const Storage& storage = *x.impl()->storage;
  saving_.emplace_back(&storage, static_cast<std::int64_t>(storage.bytes()));
}

void ObserveOps::note_work(const std::function<std::int64_t()>& count) {
  const std::int64_t begin = now_ns();
  work_ = count();
  const std::int64_t taken = now_ns() - begin;
  mark_ns_ += taken;
  nested_ns_ += taken;
  observer_ns_ += taken;
}

// Calls the observer and excludes its time from all events.
void ObserveOps::tell(OpEvent& op) {
  op.depth = depth_;
  nested_ns_ += op.end_ns - op.begin_ns;
  composed_ = true;
  const AutogradMode before = autograd_mode;
  autograd_mode = {.grad_enabled = false};
  observer_.on_op(op);
  autograd_mode = before;
  const std::int64_t after = now_ns();
  nested_ns_ += after - op.end_ns;
  observer_ns_ += after - op.end_ns;
  mark_ns_ = after;
}

void ObserveOps::forward(const OpInfo* op, std::span<const Tensor> outputs,
                         std::span<const detail::Input> inputs) {
  OpEvent seen{op->name, OpEvent::Pass::forward, ModuleTrail::current(), nullptr};
  seen.end_ns = now_ns();
  seen.begin_ns = mark_ns_;
  OpSizes sizes = sizes_of_op(outputs, inputs);
  sizes.work = std::exchange(work_, -1);
  seen.sizes = &sizes;
  seen.inputs = inputs;
  seen.outputs = outputs;
  const Node* made = nullptr;  // the node of this op; null if it was not recorded
  for (const Tensor& y : outputs)
    if (y.defined() && y.requires_grad() && y.impl()->node->op == op) made = y.impl()->node.get();
  if (made)
    for (const auto& [storage, bytes] : saving_)
      if (saved_.insert(storage).second) {
        saved_in_order_.push_back(storage);
        seen.saved_bytes += bytes;
      }
  // An inner op under NoGrad saves nothing: saving_ then belongs to the outer op.
  if (grad_enabled()) saving_.clear();
  tell(seen);
  if (made) nodes_[made] = {op, std::move(sizes)};
}

// The address may have belonged to another observed node that was freed without a backward.
const OpSizes* ObserveOps::sizes_of(const Node& node) const {
  const auto found = nodes_.find(&node);
  if (found == nodes_.end() || found->second.op != node.op) return nullptr;
  const TensorSize& y = found->second.sizes.outputs[0];
  return y.shape == node.shape ? &found->second.sizes : nullptr;
}

ObserveOps::Frame::Frame(ObserveOps& of)
    : of_(of),
      begin_ns_(now_ns()),
      outer_nested_ns_(std::exchange(of.nested_ns_, 0)),
      outer_composed_(std::exchange(of.composed_, false)),
      kept_before_(of.saved_in_order_.size()) {
  of_.drop_unfinished();
  ++of_.depth_;
  of_.mark_ns_ = begin_ns_;
}

void ObserveOps::Frame::finish(OpEvent op) {
  op.end_ns = now_ns();
  op.begin_ns = begin_ns_;
  op.nested_ns = of_.nested_ns_;
  op.composed = of_.composed_;
  finished_ = true;
  --of_.depth_;
  forget_saved();
  of_.nested_ns_ = outer_nested_ns_;
  of_.tell(op);
}

// A graph recorded inside a backward (checkpoint) is freed with it, and its addresses may be
// reused; a graph recorded under create_graph remains.
void ObserveOps::Frame::forget_saved() {
  of_.drop_unfinished();
  if (grad_enabled()) return;
  while (of_.saved_in_order_.size() > kept_before_) {
    of_.saved_.erase(of_.saved_in_order_.back());
    of_.saved_in_order_.pop_back();
  }
}

ObserveOps::Frame::~Frame() {
  if (finished_) return;  // otherwise an exception: the time counts for the outer event
  if (--of_.depth_ == 0) of_.end_of_walk();
  forget_saved();
  of_.nested_ns_ += outer_nested_ns_;
  of_.composed_ |= outer_composed_;
}

namespace detail {

void note_saved(const Tensor& x) {
  if (autograd_mode.observe) autograd_mode.observe->keep(x);
}

void mark_begin() {
  if (autograd_mode.observed && autograd_mode.observe) autograd_mode.observe->mark();
}

ObservedUpdate::ObservedUpdate(const char* name, std::initializer_list<Input> tensors)
    : name_(name) {
  if (!autograd_mode.observed || !autograd_mode.observe) return;
  sizes_ = sizes_of_op({}, std::span(tensors.begin(), tensors.size()));
  frame_.emplace(*autograd_mode.observe);
}

ObservedUpdate::~ObservedUpdate() {
  if (frame_) frame_->finish({name_, OpEvent::Pass::update, ModuleTrail::current(), &sizes_});
}

Grads observed_backward(Node& node, std::span<const Tensor> dys, NeedsGrad needs_grad, bool trace) {
  Grads grads;
  if (ObserveOps* observe = autograd_mode.observe) {
    ObserveOps::Frame frame(*observe);
    observe->take_recomputed();  // drops the value of a backward that threw
    grads = node.backward(dys, needs_grad);
    OpEvent seen{node.op->name, OpEvent::Pass::backward, node.module, observe->sizes_of(node),
                 needs_grad};
    seen.recomputed_work = observe->take_recomputed();
    frame.finish(seen);
  } else {
    grads = node.backward(dys, needs_grad);
  }
  if (trace) check_finite_grads(node, dys, grads);
  return grads;
}

}  // namespace detail
}  // namespace fovea
