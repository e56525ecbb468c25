// A recurrent net unrolled: run one step at a time, so that every hidden state is a separate
// tensor.
//
// A recurrent layer is one op for all its steps. The gradient of the output y_t = h_t of that op is
// only the direct part of
//   dL/dh_t = dL/dy_t + (dh_{t+1}/dh_t)^T dL/dh_{t+1}
// (Werbos 1990, Backpropagation Through Time, section III); the sum is formed inside the backward
// of the op. Here each step is a call of the same op on sequences of one row, and the steps are
// connected in the graph: the gradient of a step's output is the complete dL/dh_t.
//
//   const Unrolled run = unroll(gru, x);  // the values of gru(x)
//   GradientFlow flow;
//   flow.watch("gru", run.layers[0].states);
//   loss(run.states).backward();
//
// B sequences, N rows in total, I input width, P state width, L layers, D directions.
#pragma once

#include <fovea/nn/recurrent.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect {

/// The states of the sequences of a layer after each step.
struct UnrolledStates {
  std::vector<Tensor> steps;  ///< each (B, P), for cells (B, H); row b is used in length(b) steps
  RaggedIndex index;
  bool reverse = false;  ///< step s of sequence b is at position length(b) - 1 - s instead of s
};

/// One direction of one layer. The state of an LSTM is the pair (h_t, c_t): the derivative by one
/// of the two is taken with the other of the same step held fixed.
struct UnrolledLayer {
  std::string name;       ///< as in parameter names: "l0", "l0_reverse", "l1", ...
  UnrolledStates states;  ///< h_t
  UnrolledStates cells;   ///< c_t of an LSTM, else no steps
};

struct Unrolled : RecurrentLayers::Output {
  std::vector<UnrolledLayer> layers;  ///< (L D): layer by layer, forward before backward
};

/// net(x) with the net's own weights, masks and dropout. The outputs are bitwise those of net(x);
/// the gradients of the weights are equal up to rounding, since they are accumulated step by step.
/// Slow: graph nodes for each step, instead of one per layer.    x: values (N, I).    ShapeError.
Unrolled unroll(const RecurrentLayers& net, const Ragged& x, const Tensor& initial = {},
                const Tensor& initial_cell = {});

}  // namespace fovea::nn::inspect
