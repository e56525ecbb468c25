// Linear recurrences, the core of minGRU, LRU, S4D, S5 and Mamba layers.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// Every state, packed like the input, and the last state of each sequence.
struct ScanOutput {
  Tensor states;  ///< (N, H)
  Tensor last;    ///< (B, H)
};

/// h_t = a_t * h_{t-1} + b_t, elementwise, over sequences packed by `index`:
///   a: (N, H), or (H) if it is the same at every step   b: (N, H)
///   initial: h_0 (B, H), or undefined for zeros   ->   states (N, H), last (B, H)
///   dh_t = dy_t + a_{t+1} dh_{t+1};   da_t = dh_t h_{t-1},  db_t = dh_t
/// Each step is linear in the state, so steps can be computed in parallel: long sequences are split
/// into chunks whose products and sums are computed concurrently (Blelloch 1990, Prefix Sums and
/// Their Applications, section 1.4; Martin and Cundy 2018, Parallelizing Linear Recurrent Neural
/// Nets over Sequence Length, section 2). A sequence has bitwise the same result in any batch, for
/// any number of threads. `reverse` runs from the end. Intended for |a| <= 1: where a product of
/// 1024 factors overflows, the states may overflow earlier than step by step. A sequence of length
/// 0 returns its initial state. Saves a, b and the states for backward. ShapeError, DTypeError for
/// sizes or dtypes that do not match.
ScanOutput linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                             const RaggedIndex& index, bool reverse = false);

/// Reference implementation in plain ops, one sequence and one step at a time; also used for the
/// second derivative.
ScanOutput linear_recurrence_reference(const Tensor& a, const Tensor& b, const Tensor& initial,
                                       const RaggedIndex& index, bool reverse = false);

/// The same for complex values; the H real parts of a row come before its H imaginary parts:
///   a: (N, 2H) or (2H)   b: (N, 2H)   initial: (B, 2H)   ->   states (N, 2H), last (B, 2H)
///   dh_t = dy_t + conj(a_{t+1}) dh_{t+1};   da_t = dh_t conj(h_{t-1}),  db_t = dh_t
/// where the derivative with respect to x + iy is d/dx + i d/dy.
ScanOutput complex_linear_recurrence(const Tensor& a, const Tensor& b, const Tensor& initial,
                                     const RaggedIndex& index, bool reverse = false);

ScanOutput complex_linear_recurrence_reference(const Tensor& a, const Tensor& b,
                                               const Tensor& initial, const RaggedIndex& index,
                                               bool reverse = false);

/// radius * exp(i angle), as radius cos(angle) followed by radius sin(angle).
///   radius: (H)  angle: (H)  ->  (2H)      ShapeError, DTypeError
///   d radius = cos(angle) d re + sin(angle) d im,   d angle = re d im - im d re
Tensor polar(const Tensor& radius, const Tensor& angle);

}  // namespace fovea
