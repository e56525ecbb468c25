// Rotary position embedding: positions as angles, which attention sees as differences.
//
// B batch, H heads, T positions, D head width.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

/// Which two numbers of a head turn together, for pairs i = 0 .. dims / 2 - 1.
enum class RopePairing {
  interleaved,  ///< (2 i, 2 i + 1): the paper's, and Llama's original weights
  halves,       ///< (i, i + dims / 2): GPT-NeoX, and Llama as Hugging Face stores it
};

struct RopeOptions {
  double base = 10000;
  RopePairing pairing = RopePairing::interleaved;
  std::int64_t dims = 0;  ///< so many of D turn, the first ones; the others stay. 0: all of D
};

/// Turns pair i of the vector at position m by the angle m theta_i, theta_i = base^(-2 i / dims):
///   (y_a, y_b) = (x_a cos - x_b sin, x_a sin + x_b cos)
/// so that q_m . k_n depends on m - n alone. The gradient is turned back by the same angles.
///   x: (B, H, T, D), a view too   positions: i64, (T) or (B, T)   ->   (B, H, T, D)
/// The result lies in memory as x does, heads inside or outside positions. Angles are computed in
/// double: f32 would lose them at far positions. ShapeError, DTypeError, ValueError (an odd or too
/// large `dims`, a base that is not above 0).
/// Su et al. 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding, section 3.4.2.
Tensor rope(const Tensor& x, const Tensor& positions, const RopeOptions& options = {});

/// The definition in plain ops.
Tensor rope_reference(const Tensor& x, const Tensor& positions, const RopeOptions& options = {});

}  // namespace fovea
