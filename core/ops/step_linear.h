// A linear layer of a recurrent decoder, some of whose inputs are known for all steps beforehand.
//
// B batch, T steps, E and Z widths of what is known early and late.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <vector>

namespace fovea {

namespace detail {
struct LaterInputs;
}

/// y_t = W [x_t; z_t] + b, where z_t is known only when step t is due: a decoder reads words, which
/// teacher forcing knows, and what it looked at, which follows from its state.
///   Y = X W_x^T + b             all steps in one product
///   y_t = Y_t + z_t W_z^T       step by step, W_z packed once for all of them
///   dX = dY W_x   dz_t = dy_t W_z   db = sum of dY   dW = dY^T [X, Z]
/// dW is one product, made when the backward has been through all steps: a product for each of them
/// would write and add up a matrix of W's size every time. Steps that were never asked for give it
/// nothing; a z that is overwritten before the backward is a StateError there.
/// The definition: linear(concat({x_t, z_t}, 1), W, b).
class StepLinear {
 public:
  /// x: (B, T, E)  weight: (out, E + Z)  bias: (out), or undefined.  ShapeError, DTypeError.
  StepLinear(const Tensor& x, const Tensor& weight, const Tensor& bias);

  /// The next step.   z: (B, Z), or undefined where Z = 0  ->  (B, out).
  /// ShapeError, DTypeError for another z; StateError behind the last step.
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
