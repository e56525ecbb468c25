// Rotary position embedding: queries and keys rotated by angles, so that scores depend on position
// differences.
//
// B batch, H heads, T positions, D head width.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// Which two elements of a head are rotated together, for pairs i = 0 .. dims / 2 - 1.
enum class RopePairing {
  interleaved,  ///< (2 i, 2 i + 1): the paper and Llama's original weights
  halves,       ///< (i, i + dims / 2): GPT-NeoX, and Llama in Hugging Face format
};

struct RopeOptions {
  double base = 10000;
  RopePairing pairing = RopePairing::interleaved;
  std::int64_t dims = 0;  ///< the first `dims` of D are rotated, the rest unchanged. 0: all of D
};

/// Rotates pair i of the vector at position m by the angle m theta_i, theta_i = base^(-2 i / dims):
///   (y_a, y_b) = (x_a cos - x_b sin, x_a sin + x_b cos)
/// so that q_m . k_n depends on m - n only. The gradient is rotated back by the same angles.
///   x: (B, H, T, D), a view too   positions: i64, (T) or (B, T)   ->   (B, H, T, D)
/// The result has the memory layout of x, with heads before or after positions. Angles are computed
/// in double: f32 would be inaccurate at large positions. ShapeError, DTypeError, ValueError
/// (`dims` odd or too large, or base not above 0).
/// Su et al. 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding, section 3.4.2.
Tensor rope(const Tensor& x, const Tensor& positions, const RopeOptions& options = {});

/// Reference implementation in plain ops.
Tensor rope_reference(const Tensor& x, const Tensor& positions, const RopeOptions& options = {});

}  // namespace fovea
