// The cost of an op, from its name and sizes: floating-point operations and bytes.
#pragma once

#include <fovea/core/observe.h>

#include <string_view>

namespace fovea::nn::inspect {

/// Useful work, as bench/compare counts it.
///  - A multiply-add is 2 operations. Masked elements and the padding of packed sequences are not
///    counted; values recomputed to save memory are counted again.
///  - Matrix products, attention and recurrent layers: only the products, 2 M N K each (attention:
///    two forward and five backward, as the scores are recomputed). Biases, the exponentials
///    between the products and the activation functions of gates are not counted.
///  - Elementwise ops: one per element, also for an exp or a tanh; a softmax 4, a layer norm 8.
///    Comparisons, selections and copies are 0.
/// bytes: inputs read and outputs written once, as without caches; for a backward, the gradients of
/// the outputs and the inputs of the forward read, and the required gradients written. A view moves
/// 0 bytes.
struct OpCost {
  double flops = 0, bytes = 0;
  /// false: an op without an entry, or with sizes that do not fit its entry (a user's op of that
  /// name), or a backward whose forward was not observed.
  bool known = true;
};

/// The cost of one event; it does not throw. A backward observed op by op (composed), and a graph
/// walk, have no cost of their own.
OpCost cost_of(const OpEvent& op);

/// Whether there is an entry for the op recorded under this name.
bool has_cost(std::string_view op);

}  // namespace fovea::nn::inspect
