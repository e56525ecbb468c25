// A linear layer of a recurrent decoder, with one part of the input known for all steps in advance.
//
// B batch, T steps, E and Z widths of the inputs known early and late.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <vector>

namespace fovea {

namespace detail {
struct LaterInputs;
}

/// y_t = W [x_t; z_t] + b, where z_t is known only at step t: a decoder's inputs are words, known
/// in advance under teacher forcing, and a context vector, which depends on its state.
///   Y = X W_x^T + b             all steps in one product
///   y_t = Y_t + z_t W_z^T       step by step, W_z packed once for all steps
///   dX = dY W_x   dz_t = dy_t W_z   db = sum of dY   dW = dY^T [X, Z]
/// dW is one product, computed after the backward of all steps: one product per step would write
/// and accumulate a matrix of W's size each time. Steps that were not computed add nothing to it; a
/// z that is modified in place before the backward is a StateError there.
/// Reference implementation: linear(concat({x_t, z_t}, 1), W, b).
class StepLinear {
 public:
  /// x: (B, T, E)  weight: (out, E + Z)  bias: (out), or undefined.  ShapeError, DTypeError.
  StepLinear(const Tensor& x, const Tensor& weight, const Tensor& bias);

  /// The next step.   z: (B, Z), or undefined if Z = 0  ->  (B, out).
  /// ShapeError, DTypeError for another z; StateError after the last step.
  Tensor operator()(const Tensor& z);

 private:
  void check(const Tensor& z) const;

  Tensor weight_;
  std::int64_t early_;         // E
  std::size_t done_ = 0;       // steps
  std::vector<Tensor> steps_;  // Y_t (B, out)
  std::shared_ptr<detail::LaterInputs> later_;
};

}  // namespace fovea
