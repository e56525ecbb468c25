// Diagnosis of training: the first NaN, parameters without a gradient, a drawing of the graph.
#pragma once

#include <fovea/core/autograd.h>

#include <string>
#include <utility>
#include <vector>

namespace fovea {

/// Inside this scope the first op whose output, or whose computed gradient, contains a NaN or an
/// infinity while its inputs contain none throws NonFiniteError with the op, the module and the
/// range of every input. Costs one pass over every result; nothing outside the scope.
class TraceNonFinite {
 public:
  TraceNonFinite()
      : before_(std::exchange(autograd_mode.trace_non_finite, true)),
        observed_before_(std::exchange(autograd_mode.observed, true)) {}
  ~TraceNonFinite() {
    autograd_mode.trace_non_finite = before_;
    autograd_mode.observed = observed_before_ && autograd_mode.has_observer();
  }
  TraceNonFinite(const TraceNonFinite&) = delete;
  TraceNonFinite& operator=(const TraceNonFinite&) = delete;

 private:
  bool before_, observed_before_;
};

/// Lists the parameters with no gradient, a zero one or a non-finite one, together with the op that
/// cut the path to them, and the leaves that require a gradient and were used but are not among the
/// parameters (visit() omits a member, or an input requires a gradient, too).
/// Make one, compute the loss inside its scope, call backward(), then report():
///   GradientAudit audit;  model_loss().backward();  fmt::print("{}", audit.report(parameters));
class GradientAudit {
 public:
  enum class Kind { none, zero, non_finite, unlisted };
  struct Finding {
    std::string parameter;  ///< its name; for an unlisted leaf, its shape: "(4, 3)"
    Kind kind;
    /// "detach in encoder.layers.0"; empty if no cut was observed. For an unlisted leaf: the first
    /// op that used it.
    std::string cut_by;
  };

  GradientAudit()
      : before_(std::exchange(autograd_mode.audit, this)),
        observed_before_(std::exchange(autograd_mode.observed, true)) {}
  ~GradientAudit() {
    autograd_mode.audit = before_;
    autograd_mode.observed = observed_before_ && autograd_mode.has_observer();
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
    std::vector<Ref<Node>> leaves;  ///< the leaves that the detached value depended on
  };
  struct Use {
    Ref<Node> leaf;
    std::string by;  ///< "linear in encoder"
  };
  GradientAudit* before_;
  bool observed_before_;
  std::vector<Cut> cuts_;
  std::vector<Use> leaves_;  ///< each leaf with its first use
};

/// The graph that computed `output`, in Graphviz's DOT language: ops with their module and output
/// shape, leaves with the given names (others with their shape).
std::string graph_to_dot(const Tensor& output,
                         std::span<const std::pair<std::string, Tensor>> names = {});

namespace detail {
void check_finite_grads(const Node& node, std::span<const Tensor> dys, Grads& grads);
}

}  // namespace fovea
