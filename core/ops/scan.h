// Linear recurrences: what modern recurrent layers (minGRU, LRU, S4D, S5, Mamba) are made of.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// Every state, packed as its input is, and each sequence's last one.
struct ScanOutput {
  Tensor states;  ///< (N, H)
  Tensor last;    ///< (B, H)
};

/// h_t = a_t * h_{t-1} + b_t, elementwise, over sequences that `index` packs:
///   a: (N, H), or (H) where it is the same at every step   b: (N, H)
///   initial: h_0 (B, H), or undefined for zeros   ->   states (N, H), last (B, H)
///   dh_t = dy_t + a_{t+1} dh_{t+1};   da_t = dh_t h_{t-1},  db_t = dh_t
/// As no step looks at the state but linearly, time is no obstacle to working in parallel: long
/// sequences are cut into pieces whose products and sums are found at once (Blelloch 1990, Prefix
/// Sums and Their Applications, section 1.4; Martin and Cundy 2018, Parallelizing Linear Recurrent
/// Neural Nets over Sequence Length, section 2). A sequence has the same bits in any batch, for any
/// number of threads. `reverse` runs from the end. Meant for |a| <= 1: where 1024 factors overflow,
/// the states may do so earlier than step by step. A sequence of length 0 passes its initial state
/// through. Keeps a, b and the states. ShapeError, DTypeError where sizes or types do not fit.
ScanOutput linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                             const RaggedIndex& index, bool reverse = false);

/// The definition in plain ops, one sequence and one step at a time: documentation, oracle, and the
/// path of the second derivative.
ScanOutput linear_recurrence_reference(const Tensor& a, const Tensor& b, const Tensor& initial,
                                       const RaggedIndex& index, bool reverse = false);

/// The same for complex numbers, a row's real parts beside its imaginary ones:
///   a: (N, 2H) or (2H)   b: (N, 2H)   initial: (B, 2H)   ->   states (N, 2H), last (B, 2H)
///   dh_t = dy_t + conj(a_{t+1}) dh_{t+1};   da_t = dh_t conj(h_{t-1}),  db_t = dh_t
/// where the derivative by x + iy is written as that by x plus i times that by y.
ScanOutput complex_linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                                     const RaggedIndex& index, bool reverse = false);

ScanOutput complex_linear_recurrence_reference(const Tensor& a, const Tensor& b,
                                               const Tensor& initial, const RaggedIndex& index,
                                               bool reverse = false);

/// radius * exp(i angle): (radius cos(angle), radius sin(angle)) side by side.
///   radius: (H)  angle: (H)  ->  (2H)      ShapeError, DTypeError
///   d radius = cos(angle) d re + sin(angle) d im,   d angle = re d im - im d re
Tensor polar(const Tensor& radius, const Tensor& angle);

}  // namespace fovea
