// Finding out what went wrong in training: the first NaN, the parameter without a gradient, the
// graph.
#pragma once

#include <fovea/core/autograd.h>

#include <string>
#include <utility>
#include <vector>

namespace fovea {

/// Inside this scope the first op whose output, or whose backward's result, holds a NaN or an
/// infinity that its inputs did not hold throws NonFiniteError: op, module, and the range of every
/// input. Costs one pass over every result; nothing outside the scope.
class TraceNonFinite {
 public:
  TraceNonFinite()
      : before_(std::exchange(autograd_mode.trace_non_finite, true)),
        watched_before_(std::exchange(autograd_mode.watched, true)) {}
  ~TraceNonFinite() {
    autograd_mode.trace_non_finite = before_;
    autograd_mode.watched = watched_before_ && autograd_mode.watcher();
  }
  TraceNonFinite(const TraceNonFinite&) = delete;
  TraceNonFinite& operator=(const TraceNonFinite&) = delete;

 private:
  bool before_, watched_before_;
};

/// Which parameters got no gradient, a zero one or a non-finite one, which op cut the path, and
/// which leaves that want a gradient were used without being among the parameters (visit() forgot
/// a member, or an input wants a gradient too).
/// Make one, compute the loss inside its scope, call backward(), then ask:
///   GradientAudit audit;  model_loss().backward();  fmt::print("{}", audit.report(parameters));
class GradientAudit {
 public:
  enum class Kind { none, zero, non_finite, unlisted };
  struct Finding {
    std::string parameter;  ///< its name; of an unlisted leaf its shape: "(4, 3)"
    Kind kind;
    /// "detach in encoder.layers.0"; empty where no cut was seen. Of an unlisted leaf: the first op
    /// that used it.
    std::string cut_by;
  };

  GradientAudit()
      : before_(std::exchange(autograd_mode.audit, this)),
        watched_before_(std::exchange(autograd_mode.watched, true)) {}
  ~GradientAudit() {
    autograd_mode.audit = before_;
    autograd_mode.watched = watched_before_ && autograd_mode.watcher();
  }
  GradientAudit(const GradientAudit&) = delete;
  GradientAudit& operator=(const GradientAudit&) = delete;

  std::vector<Finding> findings(std::span<const std::pair<std::string, Tensor>> parameters) const;
  std::string report(std::span<const std::pair<std::string, Tensor>> parameters) const;

  // Called by record().
  void note_cut(const OpInfo* op, std::span<const detail::Input> inputs);
  void note_leaves(const OpInfo* op, std::span<const detail::Input> inputs);
  void forget_leaves(std::span<const Tensor> leaves);  ///< placeholders for inner tensors

 private:
  struct Cut {
    std::string where;
    std::vector<Ref<Node>> leaves;  ///< what the cut value depended on
  };
  struct Use {
    Ref<Node> leaf;
    std::string by;  ///< "linear in encoder"
  };
  GradientAudit* before_;
  bool watched_before_;
  std::vector<Cut> cuts_;
  std::vector<Use> leaves_;  ///< each with its first use
};

/// The graph behind `output` in Graphviz's DOT language: ops with their module and output shape,
/// leaves by the names given (others by their shape).
std::string graph_to_dot(const Tensor& output,
                         std::span<const std::pair<std::string, Tensor>> names = {});

namespace detail {
void check_finite_grads(const Node& node, std::span<const Tensor> dys, Grads& grads);
}

}  // namespace fovea
