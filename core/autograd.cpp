#include <fovea/core/autograd.h>

#include <mutex>

namespace fovea {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<const OpInfo*> ops;
};
Registry& registry() {
  static Registry* instance = new Registry;
  return *instance;
}

}  // namespace

// --- Saved, Node -------------------------------------------------------------------------------

void Saved::overwritten() const {
  state_error("backward",
              "a saved tensor {} was overwritten after the forward (version {}, now {}): "
              "write to a clone() instead",
              tensor_.shape().str(), version_, tensor_.impl()->storage->version());
}

Node::~Node() = default;

void Node::bury(Node* node) noexcept {
  // Deleting a node releases its inputs, possibly a chain of a million nodes. To avoid recursion,
  // nested calls only append to a queue, which the outermost call of this thread processes.
  static thread_local constinit Node* queue = nullptr;
  static thread_local constinit bool working = false;
  node->next_dead = queue;
  queue = node;
  if (working) return;
  working = true;
  while (queue != nullptr) {
    Node* dead = queue;
    queue = dead->next_dead;
    delete dead;
  }
  working = false;
}

Node::Extra& Node::extra() {
  if (!more) more = std::make_unique<Extra>();
  return *more;
}

Tensor& Node::pending_of(std::size_t output) {
  if (output == 0) return pending;
  more->pending.resize(more->shapes.size());
  return more->pending[output - 1];
}

std::vector<OpInfo> registered_ops() {
  const std::lock_guard lock(registry().mutex);
  std::vector<OpInfo> all;
  for (const OpInfo* op : registry().ops) all.push_back(*op);
  return all;
}

namespace detail {

bool register_op(const OpInfo* op) {
  const std::lock_guard lock(registry().mutex);
  registry().ops.push_back(op);
  return true;
}

void attach(Tensor& y, Ref<Node> node, std::uint32_t output_nr) {
  check_defined(node->op->name, "the output", y);
  TensorImpl& impl = *y.impl();
  if (impl.node)
    state_error(node->op->name, "record: output {} already has a graph: must be a new tensor",
                output_nr);
  if (output_nr == 0) {
    node->shape = impl.shape;
  } else {
    node->extra().shapes.push_back(impl.shape);
  }
  if (!is_floating(impl.dtype)) return;  // integer and bool outputs have no gradient
  node->dtype = impl.dtype;
  impl.node = std::move(node);
  impl.output_nr = output_nr;
}

SavedOutput::SavedOutput(const Tensor& y)
    : storage(y.impl()->storage), data(y.impl()->data), version(storage->version()) {
  if (!y.is_contiguous())
    state_error("record", "output {} is saved for backward: must be contiguous", y.shape().str());
  if (autograd_mode.observed) note_saved(y);
}

Tensor SavedOutput::get(Node& self) const {
  if (storage->version() != version)
    state_error(self.op->name,
                "backward: its output {} was overwritten after the forward: write to a "
                "clone() instead",
                self.shape.str());
  auto* impl = new TensorImpl(self.shape, self.shape.numel(), self.dtype, storage, data);
  if (grad_enabled()) impl->node = Ref<Node>::share(&self);
  return Tensor(Ref<TensorImpl>::adopt(impl));
}

}  // namespace detail

}  // namespace fovea
