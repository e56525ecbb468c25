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
      outer_watched_(autograd_mode.watched),
      mark_ns_(now_ns()) {
  autograd_mode.observe = this;
  autograd_mode.watched = true;
}

// What begins later may end later: a scope within takes over what this one replaced.
ObserveOps::~ObserveOps() {
  AutogradMode& mode = autograd_mode;
  if (mode.observe == this) {
    mode.observe = outer_;
    mode.watched = (outer_watched_ || mode.trace_non_finite || mode.audit) && mode.watcher();
    return;
  }
  for (ObserveOps* inner = mode.observe; inner; inner = inner->outer_) {
    if (inner->outer_ != this) continue;
    inner->outer_ = outer_;
    inner->outer_watched_ = outer_watched_;
    return;
  }
}

void ObserveOps::mark() {
  mark_ns_ = now_ns();
  drop_unfinished();
}

// Of an op that threw before it was recorded.
void ObserveOps::drop_unfinished() {
  work_ = -1;
  keeping_.clear();
}

void ObserveOps::end_of_walk() {
  kept_.clear();
  kept_in_order_.clear();
}

void ObserveOps::keep(const Tensor& x) {
  if (let_go_) return;
  if (x.requires_grad() && x.is_leaf()) return;
  const Storage& storage = *x.impl()->storage;
  keeping_.emplace_back(&storage, static_cast<std::int64_t>(storage.bytes()));
}

void ObserveOps::note_work(const std::function<std::int64_t()>& count) {
  const std::int64_t begin = now_ns();
  work_ = count();
  const std::int64_t taken = now_ns() - begin;
  mark_ns_ += taken;
  nested_ns_ += taken;
  observer_ns_ += taken;
}

// Tells of an event whose times are known; what the observer does with it is in nobody's time.
void ObserveOps::tell(SeenOp& op) {
  op.depth = depth_;
  nested_ns_ += op.end_ns - op.begin_ns;
  composed_ = true;
  const AutogradMode before = autograd_mode;
  autograd_mode = {.grad_enabled = false};
  observer_.see(op);
  autograd_mode = before;
  const std::int64_t after = now_ns();
  nested_ns_ += after - op.end_ns;
  observer_ns_ += after - op.end_ns;
  mark_ns_ = after;
}

void ObserveOps::forward(const OpInfo* op, std::span<const Tensor> outputs,
                         std::span<const detail::Input> inputs) {
  SeenOp seen{op->name, SeenOp::Pass::forward, ModuleTrail::current(), nullptr};
  seen.end_ns = now_ns();
  seen.begin_ns = mark_ns_;
  OpSizes sizes = sizes_of_op(outputs, inputs);
  sizes.work = std::exchange(work_, -1);
  seen.sizes = &sizes;
  seen.inputs = inputs;
  seen.outputs = outputs;
  const Node* made = nullptr;  // the node that this op was recorded as, if it was
  for (const Tensor& y : outputs)
    if (y.defined() && y.requires_grad() && y.impl()->node->op == op) made = y.impl()->node.get();
  if (made)
    for (const auto& [storage, bytes] : keeping_)
      if (kept_.insert(storage).second) {
        kept_in_order_.push_back(storage);
        seen.kept_bytes += bytes;
      }
  // An op inside another, under NoGrad, keeps nothing: these are the other's.
  if (grad_enabled()) keeping_.clear();
  tell(seen);
  if (made) nodes_[made] = {op, std::move(sizes)};
}

// A node's address may have been another node's, which was seen and died without a backward.
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
      kept_before_(of.kept_in_order_.size()) {
  of_.drop_unfinished();
  ++of_.depth_;
  of_.mark_ns_ = begin_ns_;
}

void ObserveOps::Frame::finish(SeenOp op) {
  op.end_ns = now_ns();
  op.begin_ns = begin_ns_;
  op.nested_ns = of_.nested_ns_;
  op.composed = of_.composed_;
  finished_ = true;
  --of_.depth_;
  forget_kept();
  of_.nested_ns_ = outer_nested_ns_;
  of_.tell(op);
}

// What a backward recorded inside itself (checkpoint) is gone with it, and its addresses are free
// for others; but create_graph's is kept.
void ObserveOps::Frame::forget_kept() {
  of_.drop_unfinished();
  if (grad_enabled()) return;
  while (of_.kept_in_order_.size() > kept_before_) {
    of_.kept_.erase(of_.kept_in_order_.back());
    of_.kept_in_order_.pop_back();
  }
}

ObserveOps::Frame::~Frame() {
  if (finished_) return;  // else an exception: the time is that of the event around
  if (--of_.depth_ == 0) of_.end_of_walk();
  forget_kept();
  of_.nested_ns_ += outer_nested_ns_;
  of_.composed_ |= outer_composed_;
}

namespace detail {

void note_kept(const Tensor& x) {
  if (autograd_mode.observe) autograd_mode.observe->keep(x);
}

void mark_begin() {
  if (autograd_mode.watched && autograd_mode.observe) autograd_mode.observe->mark();
}

ObservedUpdate::ObservedUpdate(const char* name, std::initializer_list<Input> tensors)
    : name_(name) {
  if (!autograd_mode.watched || !autograd_mode.observe) return;
  sizes_ = sizes_of_op({}, std::span(tensors.begin(), tensors.size()));
  frame_.emplace(*autograd_mode.observe);
}

ObservedUpdate::~ObservedUpdate() {
  if (frame_) frame_->finish({name_, SeenOp::Pass::update, ModuleTrail::current(), &sizes_});
}

Grads watched_backward(Node& node, std::span<const Tensor> dys, Wanted wanted, bool trace) {
  Grads grads;
  if (ObserveOps* observe = autograd_mode.observe) {
    ObserveOps::Frame frame(*observe);
    observe->take_again();  // of a backward that threw
    grads = node.backward(dys, wanted);
    SeenOp seen{node.op->name, SeenOp::Pass::backward, node.module, observe->sizes_of(node),
                wanted};
    seen.again = observe->take_again();
    frame.finish(seen);
  } else {
    grads = node.backward(dys, wanted);
  }
  if (trace) check_finite_grads(node, dys, grads);
  return grads;
}

}  // namespace detail
}  // namespace fovea
