// Seeing every op as it runs: what it was, how long it took, what it keeps. Profiles and cost
// ledgers are made of this.
//
//   struct Printer : OpObserver {
//     void see(const SeenOp& op) noexcept override { fmt::print("{} {} ns\n", op.name, ...); }
//   } printer;
//   const ObserveOps observe(printer);
//   loss(model(x)).backward();
//
// Where the time comes from. An op's backward and an optimizer's step are timed from their first
// line to their last. A forward has no first line to hook: record() is called when its kernel has
// run. So its time begins at the last mark of the thread: the end of the op before, the start of a
// module, the start or end of a backward walk. What the thread did since then beside the op (user's
// code between two ops of one module, the op's checks, planning a mask) is counted with the op;
// work before the first op of a module is counted with none. The observer's own time is nobody's.
// Each event costs two looks at the clock, some 50 ns: ops of less than a microsecond look slower
// than they are.
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
  bool given = false;  ///< false: an optional input that was left out
  Shape shape;
  DType dtype = DType::f32;

  std::int64_t bytes() const { return given ? shape.numel() * size_of(dtype) : 0; }
};

/// What an op was given and gave, in numbers. A backward has those of its forward.
struct OpSizes {
  std::vector<TensorSize> inputs, outputs;
  /// What the shapes do not tell, of ops that say it; else -1. Attention: pairs of query and key
  /// that the mask keeps, over all batch rows and heads. Recurrent layers, feed_forward and
  /// attention_step: the multiply-adds of a forward.
  std::int64_t work = -1;
};

struct SeenOp {
  enum class Pass : std::uint8_t {
    forward,
    backward,  ///< the op's own backward, without the engine's adding up
    update,    ///< an optimizer's op
    walk,      ///< a whole backward(): what its ops leave is the engine's
  };
  const char* name;  ///< as given to record<"...">; the walk's is "backward"
  Pass pass;
  const std::string* module;  ///< where it was called; null outside every module that has a name
  const OpSizes* sizes;       ///< null: of a walk, and where its forward was not seen
  Wanted wanted{0};           ///< of a backward: which inputs' gradients
  std::int64_t begin_ns = 0, end_ns = 0;  ///< of std::chrono::steady_clock
  std::int64_t nested_ns = 0;             ///< time in events inside this one
  int depth = 0;                          ///< events around this one
  /// Its work was seen op by op: a backward made of recorded ops (checkpoint, create_graph).
  bool composed = false;
  /// Of a backward: what it did again because its forward had not kept it, in OpSizes::work's unit.
  std::int64_t again = 0;
  /// Of a forward: bytes that it keeps for its backward, and that no op since the last backward()
  /// kept before; 0 of the first run of checkpoint(), whose graph goes at once. Parameters are not
  /// counted, but a view of one (a transposed weight) is: it looks like any result. Storages are
  /// told apart by their address, and graphs that go without a backward() are not noticed: what is
  /// made at their address is counted from the next backward() on.
  std::int64_t kept_bytes = 0;
  std::span<const detail::Input> inputs = {};  ///< of a forward
  std::span<const Tensor> outputs = {};        ///< of a forward

  std::int64_t self_ns() const { return end_ns - begin_ns - nested_ns; }
};

class OpObserver {
 public:
  virtual ~OpObserver() = default;
  /// Called when the op has ended; inner events come before those around them. What is computed
  /// here is not seen.
  virtual void see(const SeenOp& op) noexcept = 0;
};

/// Inside this scope `observer` sees every op of this thread. Ops inside an op's backward are part
/// of it and are not seen, except under create_graph and checkpoint, where they are the work. An
/// inner scope replaces an outer one; the outer may end first. Each ends on its own thread, and not
/// inside a walk that it sees. Results are the same to the bit with and without.
class ObserveOps {
 public:
  explicit ObserveOps(OpObserver& observer);
  ~ObserveOps();
  ObserveOps(const ObserveOps&) = delete;
  ObserveOps& operator=(const ObserveOps&) = delete;

  /// An event with a beginning. It tells the observer when finish() is called, else nothing.
  class Frame {
   public:
    explicit Frame(ObserveOps& of);
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    void finish(SeenOp op);  ///< name, pass, module, sizes and wanted are the caller's

   private:
    ObserveOps& of_;
    void forget_kept();

    std::int64_t begin_ns_, outer_nested_ns_;
    bool finished_ = false, outer_composed_;
    std::size_t kept_before_;
  };

  void mark();  ///< the next forward's time begins here, and an op that threw is forgotten
  void keep(const Tensor& x);
  void note_work(const std::function<std::int64_t()>& count);
  void note_again(std::int64_t work) { again_ += work; }
  std::int64_t take_again() { return std::exchange(again_, 0); }
  void forward(const OpInfo* op, std::span<const Tensor> outputs,
               std::span<const detail::Input> inputs);
  const OpSizes* sizes_of(const Node& node) const;
  void forget(const Node& node) { nodes_.erase(&node); }
  void end_of_walk();
  /// Whether what ops keep is let go at once, and does not count. Gives what it was.
  bool set_let_go(bool on) { return std::exchange(let_go_, on); }
  int depth() const { return depth_; }
  std::int64_t observer_ns() const { return observer_ns_; }  ///< spent in see()

 private:
  struct Recorded {
    const OpInfo* op;
    OpSizes sizes;
  };
  void tell(SeenOp& op);
  void drop_unfinished();

  OpObserver& observer_;
  ObserveOps* outer_;
  bool outer_watched_;
  std::int64_t mark_ns_ = 0, nested_ns_ = 0, observer_ns_ = 0, work_ = -1, again_ = 0;
  int depth_ = 0;
  bool composed_ = false, let_go_ = false;
  std::unordered_map<const Node*, Recorded> nodes_;
  std::vector<std::pair<const Storage*, std::int64_t>> keeping_;  // by the op that is running
  std::unordered_set<const Storage*> kept_;                       // since the last walk
  std::vector<const Storage*> kept_in_order_;
};

namespace detail {

/// A backward that is made of ops lets them be seen.
class SeeThrough {
 public:
  SeeThrough() : before_(autograd_mode.watched) {
    autograd_mode.watched |= autograd_mode.observe != nullptr;
  }
  ~SeeThrough() { autograd_mode.watched = before_; }
  SeeThrough(const SeeThrough&) = delete;
  SeeThrough& operator=(const SeeThrough&) = delete;

 private:
  bool before_;
};

/// What is recorded inside this scope is let go when it ends: nothing is kept.
class LetGo {
 public:
  LetGo()
      : of_(autograd_mode.watched ? autograd_mode.observe : nullptr),
        before_(of_ && of_->set_let_go(true)) {}
  ~LetGo() {
    if (of_) of_->set_let_go(before_);
  }
  LetGo(const LetGo&) = delete;
  LetGo& operator=(const LetGo&) = delete;

 private:
  ObserveOps* of_;
  bool before_;
};

/// Ops that a forward is made of, and which are seen with it, as a whole.
class SeeWhole {
 public:
  SeeWhole() : before_(std::exchange(autograd_mode.watched, false)) {}
  ~SeeWhole() { autograd_mode.watched = before_; }
  SeeWhole(const SeeWhole&) = delete;
  SeeWhole& operator=(const SeeWhole&) = delete;

 private:
  bool before_;
};

/// Ops that are not recorded: of an optimizer. Begins here, ends with the scope.
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

/// Has OpSizes::work counted, if somebody wants to know, in nobody's time. Call it before record().
template <class F>
void note_work(const F& count) {
  if (autograd_mode.watched && autograd_mode.observe) autograd_mode.observe->note_work(count);
}
/// SeenOp::again of the backward that is running.
inline void note_again(std::int64_t work) {
  if (autograd_mode.observe) autograd_mode.observe->note_again(work);
}

/// node.backward(), seen: by the observer, and by what looks for NaN.
Grads watched_backward(Node& node, std::span<const Tensor> dys, Wanted wanted, bool trace);

}  // namespace detail
}  // namespace fovea
