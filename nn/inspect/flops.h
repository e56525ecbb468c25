// What an op costs, from its name and its sizes: floating-point operations and bytes.
#pragma once

#include <fovea/core/observe.h>

#include <string_view>

namespace fovea::nn::inspect {

/// Useful work, as bench/compare counts it.
///  - A multiply-add is 2 operations. What is left out by a mask, or is padding of packed
///  sequences,
///    is not counted; what is computed twice to save memory is, as it is done.
///  - Matrix products, attention and recurrent layers: their products alone, 2 M N K each
///  (attention
///    two forward and five backward, as the scores are made again). Biases, the exponentials
///    between the products and the gates' functions are not counted.
///  - Elementwise ops: one for each number, also for an exp or a tanh; a softmax 4, a layer norm 8.
///    Comparing, choosing and copying are none.
/// bytes: the inputs read and the outputs written once, as if nothing stayed in a cache; of a
/// backward the gradients by the outputs and the forward's inputs read, and the wanted gradients
/// written. A view moves nothing.
struct OpCost {
  double flops = 0, bytes = 0;
  /// false: an op without an entry, or of other sizes than its entry's (a user's own), or a forward
  /// nobody saw.
  bool known = true;
};

/// The cost of one event; it does not throw. A backward that was seen op by op (composed), and a
/// walk, cost nothing of their own.
OpCost cost_of(const SeenOp& op);

/// Is there an entry for the op that is recorded under this name?
bool has_cost(std::string_view op);

}  // namespace fovea::nn::inspect
