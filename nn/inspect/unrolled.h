// A recurrent net unrolled: run one step at a time, so that every state is a tensor of its own.
//
// A recurrent layer is one op for all its steps. The gradient that reaches that op's output
// y_t = h_t is only what comes from above, the direct part of
//   dL/dh_t = dL/dy_t + (dh_{t+1}/dh_t)^T dL/dh_{t+1}
// (Werbos 1990, Backpropagation Through Time, section III); the sum is formed inside the op's
// backward, where nobody can look. Here each step is a call of the same op on sequences of one row,
// and the edges between them are in the graph: the gradient of a step's output is all of dL/dh_t.
//
//   const Unrolled run = unroll(gru, x);  // the numbers of gru(x)
//   GradientFlow flow;
//   flow.watch("gru", run.layers[0].states);
//   loss(run.states).backward();
//
// B sequences, N rows in all, I input width, P state width, L layers, D directions.
#pragma once

#include <fovea/nn/recurrent.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect {

/// What a layer's sequences hold after each step.
struct UnrolledStates {
  std::vector<Tensor> steps;  ///< each (B, P), of cells (B, H); b runs in the first length(b)
  RaggedIndex index;
  bool reverse = false;  ///< step s of sequence b is at position length(b) - 1 - s, and not at s
};

/// One direction of one layer. The state of an LSTM is the pair (h_t, c_t): the derivative by
/// either is the one with the other of the same step held fixed.
struct UnrolledLayer {
  std::string name;       ///< as in the parameters' names: "l0", "l0_reverse", "l1", ...
  UnrolledStates states;  ///< h_t
  UnrolledStates cells;   ///< c_t of an LSTM, else no steps
};

struct Unrolled : RecurrentLayers::Output {
  std::vector<UnrolledLayer> layers;  ///< L D of them: layer by layer, forward before backward
};

/// net(x) with the net's own weights, masks and dropout. The outputs are those of net(x) to the
/// bit; the weights' gradients up to rounding, for they are added step by step. Slow: nodes for
/// each step, not one for each layer.    x: values (N, I).    ShapeError.
Unrolled unroll(const RecurrentLayers& net, const Ragged& x, const Tensor& initial = {},
                const Tensor& initial_cell = {});

}  // namespace fovea::nn::inspect
