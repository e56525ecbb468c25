// Observers of ops: an event per op with its name, time and saved bytes, for profilers and cost
// reports.
//
//   struct Printer : OpObserver {
//     void on_op(const OpEvent& op) noexcept override { fmt::print("{} {} ns\n", op.name, ...); }
//   } printer;
//   const ObserveOps observe(printer);
//   loss(model(x)).backward();
//
// Time measurement. A backward function and an optimizer's step are timed from beginning to end. A
// forward calls record() only after its kernel has run, so its time begins at the last mark of the
// thread: the end of the previous op, the start of a module, the start or end of a backward pass.
// Other work of the thread since that mark (user code between two ops of one module, the op's
// checks, planning a mask) is counted with the op; work before the first op of a module is not
// counted. The time of the observer itself is excluded. Each event reads the clock twice, about
// 50 ns: ops of less than a microsecond appear slower than they are.
#pragma once

#include <fovea/core/autograd.h>

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace fovea {

struct TensorSize {
  bool given = false;  ///< false: an optional input that was omitted
  Shape shape;
  DType dtype = DType::f32;

  std::int64_t bytes() const { return given ? shape.numel() * size_of(dtype) : 0; }
};

/// Sizes of the inputs and outputs of an op. A backward has the sizes of its forward.
struct OpSizes {
  std::vector<TensorSize> inputs, outputs;
  /// Amount of work that the shapes do not determine, for ops that report it; else -1. Attention:
  /// the attended pairs of query and key over all batch rows and heads. Recurrent layers,
  /// feed_forward and attention_step: the multiply-adds of a forward.
  std::int64_t work = -1;
};

struct OpEvent {
  enum class Pass : std::uint8_t {
    forward,
    backward,  ///< the backward function of an op, without the engine's accumulation
    update,    ///< an op of an optimizer
    walk,      ///< a whole backward(); its self_ns() is the time of the engine
  };
  const char* name;  ///< as in record<"...">; "backward" for Pass::walk
  Pass pass;
  const std::string* module;  ///< the calling module; null outside every named module
  const OpSizes* sizes;       ///< null for Pass::walk, and if the forward was not observed
  NeedsGrad needs_grad{0};    ///< backward: the inputs whose gradients are computed
  std::int64_t begin_ns = 0, end_ns = 0;  ///< times of std::chrono::steady_clock
  std::int64_t nested_ns = 0;             ///< time in events inside this one
  int depth = 0;                          ///< number of events around this one
  /// The ops inside have events of their own: a backward made of recorded ops (checkpoint,
  /// create_graph).
  bool composed = false;
  /// Backward: work recomputed because the forward had not saved it, in the unit of OpSizes::work.
  std::int64_t recomputed_work = 0;
  /// Forward: bytes saved for backward that no other op saved since the last backward(); 0 for the
  /// first run of checkpoint(), whose graph is freed at once. Parameters are not counted, but a
  /// view of one (a transposed weight) is, because it cannot be distinguished from a result.
  /// Storages are identified by their address. Graphs freed without a backward() are not noticed: a
  /// new storage at such an address is counted only after the next backward().
  std::int64_t saved_bytes = 0;
  std::span<const detail::Input> inputs = {};  ///< forward only
  std::span<const Tensor> outputs = {};        ///< forward only

  std::int64_t self_ns() const { return end_ns - begin_ns - nested_ns; }
};

class OpObserver {
 public:
  virtual ~OpObserver() = default;
  /// Called after the op; inner events come before outer ones. Ops called here are not observed.
  virtual void on_op(const OpEvent& op) noexcept = 0;
};

/// Inside this scope `observer` receives an event for every op of this thread. Ops inside the
/// backward of an op belong to its event, except under create_graph and checkpoint, where each has
/// its own. An inner scope replaces an outer one; the outer may end first. A scope must end on its
/// own thread, and not inside a backward pass that it observes. Results are bitwise the same with
/// and without an observer.
class ObserveOps {
 public:
  explicit ObserveOps(OpObserver& observer);
  ~ObserveOps();
  ObserveOps(const ObserveOps&) = delete;
  ObserveOps& operator=(const ObserveOps&) = delete;

  /// An event that begins at construction. The observer is called only by finish().
  class Frame {
   public:
    explicit Frame(ObserveOps& of);
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    void finish(OpEvent op);  ///< the caller sets name, pass, module, sizes and wanted

   private:
    ObserveOps& of_;
    void forget_saved();

    std::int64_t begin_ns_, outer_nested_ns_;
    bool finished_ = false, outer_composed_;
    std::size_t kept_before_;
  };

  void mark();  ///< begins the time of the next forward; drops the state of an op that threw
  void keep(const Tensor& x);
  void note_work(const std::function<std::int64_t()>& count);
  void note_recomputed(std::int64_t work) { recomputed_ += work; }
  std::int64_t take_recomputed() { return std::exchange(recomputed_, 0); }
  void forward(const OpInfo* op, std::span<const Tensor> outputs,
               std::span<const detail::Input> inputs);
  const OpSizes* sizes_of(const Node& node) const;
  void forget(const Node& node) { nodes_.erase(&node); }
  void end_of_walk();
  /// Whether saved tensors are not counted because their graph is freed at once. Returns the
  /// previous setting.
  bool set_ignore_saved(bool on) { return std::exchange(ignore_saved_, on); }
  int depth() const { return depth_; }
  std::int64_t observer_ns() const { return observer_ns_; }  ///< time spent in on_op()

 private:
  struct Recorded {
    const OpInfo* op;
    OpSizes sizes;
  };
  void tell(OpEvent& op);
  void drop_unfinished();

  OpObserver& observer_;
  ObserveOps* outer_;
  bool outer_observed_;
  std::int64_t mark_ns_ = 0, nested_ns_ = 0, observer_ns_ = 0, work_ = -1, recomputed_ = 0;
  int depth_ = 0;
  bool composed_ = false, ignore_saved_ = false;
  std::unordered_map<const Node*, Recorded> nodes_;
  std::vector<std::pair<const Storage*, std::int64_t>> saving_;  // by the running op
  std::unordered_set<const Storage*> saved_;                     // since the last backward pass
  std::vector<const Storage*> saved_in_order_;
};

namespace detail {

/// Observes the ops that a backward is composed of.
class ObserveInnerOps {
 public:
  ObserveInnerOps() : before_(autograd_mode.observed) {
    autograd_mode.observed |= autograd_mode.observe != nullptr;
  }
  ~ObserveInnerOps() { autograd_mode.observed = before_; }
  ObserveInnerOps(const ObserveInnerOps&) = delete;
  ObserveInnerOps& operator=(const ObserveInnerOps&) = delete;

 private:
  bool before_;
};

/// For a graph that is freed at the end of this scope: its saved tensors are not counted.
class IgnoreSaved {
 public:
  IgnoreSaved()
      : of_(autograd_mode.observed ? autograd_mode.observe : nullptr),
        before_(of_ && of_->set_ignore_saved(true)) {}
  ~IgnoreSaved() {
    if (of_) of_->set_ignore_saved(before_);
  }
  IgnoreSaved(const IgnoreSaved&) = delete;
  IgnoreSaved& operator=(const IgnoreSaved&) = delete;

 private:
  ObserveOps* of_;
  bool before_;
};

/// Hides the ops that a forward is composed of: the forward is observed as one op.
class HideInnerOps {
 public:
  HideInnerOps() : before_(std::exchange(autograd_mode.observed, false)) {}
  ~HideInnerOps() { autograd_mode.observed = before_; }
  HideInnerOps(const HideInnerOps&) = delete;
  HideInnerOps& operator=(const HideInnerOps&) = delete;

 private:
  bool before_;
};

/// An event of Pass::update for ops that are not recorded, from construction to destruction.
class ObservedUpdate {
 public:
  ObservedUpdate(const char* name, std::initializer_list<Input> tensors);
  ~ObservedUpdate();
  ObservedUpdate(const ObservedUpdate&) = delete;
  ObservedUpdate& operator=(const ObservedUpdate&) = delete;

 private:
  const char* name_;
  OpSizes sizes_;
  std::optional<ObserveOps::Frame> frame_;
};

/// Sets OpSizes::work to count() if an observer is active; its time is excluded. Call it before
/// record().
template <class F>
void note_work(const F& count) {
  if (autograd_mode.observed && autograd_mode.observe) autograd_mode.observe->note_work(count);
}
/// Adds to OpEvent::recomputed_work of the running backward.
inline void note_recomputed(std::int64_t work) {
  if (autograd_mode.observe) autograd_mode.observe->note_recomputed(work);
}

/// node.backward() with an event for the observer and, if `trace`, a check of its gradients for
/// NaN.
Grads observed_backward(Node& node, std::span<const Tensor> dys, NeedsGrad needs_grad, bool trace);

}  // namespace detail
}  // namespace fovea
