// Gradient clipping, between backward() and step().
#pragma once

#include <fovea/core/state.h>

namespace fovea::optim {

struct ClipOptions {
  bool error_if_nonfinite = false;  ///< NonFiniteError instead of a returned NaN or infinity
};

/// Scales all gradients by one factor so that their total Euclidean norm is at most max_norm, and
/// returns the total norm before clipping. Parameters without a gradient are ignored, tied ones
/// count once. ValueError for a name that is listed twice.
///
///   n = sqrt(sum of all g^2),   g = g min(1, max_norm / (n + 1e-6))        the 1e-6 is PyTorch's
///
/// If n is NaN or infinite, the gradients are unchanged: no factor makes them finite, and the
/// caller can test n and skip the step. n does not depend on the number of threads. Pascanu,
/// Mikolov, Bengio: On the difficulty of training recurrent neural networks, ICML 2013, 3.2.
double clip_grad_norm(const NamedTensors& parameters, double max_norm, ClipOptions options = {});

/// Clamps every element of every gradient to [-limit, limit]. NaN stays NaN.
void clip_grad_value(const NamedTensors& parameters, double limit);

}  // namespace fovea::optim
