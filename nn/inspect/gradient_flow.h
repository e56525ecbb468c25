// GradientFlow: how much of the loss's gradient reaches each position of a sequence.
//
//   GradientFlow flow;
//   const Tensor h = encoder.layers[0](x);  // (B, T, C)
//   flow.watch("layer 0", h);
//   loss(encoder.layers[1](h)).backward();
//   flow.measure("layer 0").by_position();  // T numbers
//   write_file_atomically("flow.svg", draw_as_svg(chart_of(flow.measure())));
//
// Recurrent nets pass a gradient backwards step by step, and it shrinks or grows by a factor a step
// (Hochreiter 1991, Untersuchungen zu dynamischen neuronalen Netzen; Bengio, Simard and Frasconi
// 1994, Learning Long-Term Dependencies with Gradient Descent is Difficult; Pascanu et al. 2013, On
// the Difficulty of Training Recurrent Neural Networks, section 2).
// Attention passes it from any position to any other in one step.
//
// B sequences, T positions, N rows of a packed batch, C width.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/unrolled.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::inspect {

/// The norms of one watched layer.
struct Flow {
  std::string name;
  RaggedIndex index;
  std::vector<double> norms;  ///< ||dL/dh_bt||_2 of every row, (N) packed as `index` says

  /// The mean over the sequences that have position t, for t = 0 .. longest - 1.
  std::vector<double> by_position() const;
  /// The same d positions before the end of each sequence, for d = 0 .. longest - 1.
  std::vector<double> by_distance() const;
};

/// ||dL/dh_t||_2 after a backward(), of states h from anywhere in a model. L is the loss as it is:
/// one that is a mean over B sequences has 1 / B in every norm.
///
/// What is measured is the gradient that arrives at the watched tensor.
///  - Rows that later ops read side by side (an embedding, what an attention or a Transformer layer
///    gives or takes) have no other way to the loss: it is the whole derivative. Of a layer's
///    output whose last row alone is used it is 0 elsewhere; the flow is seen at the rows that it
///    read.
///  - A recurrent layer's output has: h_t also goes, inside the op, into h_{t+1}. What arrives at
///    the output is the direct part only. Watch the states of unroll(), whose steps are in the
///    graph; or the layer's input x_t, whose gradient has come through all later steps.
///
/// Watching shares the tensor and asks it to keep its gradient: the model's outputs and gradients
/// stay the same to the bit. Gradients of several backward() add up, as a leaf's do. The watched
/// tensors, and the graph behind them, live until clear().
class GradientFlow {
 public:
  /// ValueError if the name is taken; StateError if the states have no history (detached, made
  /// under NoGrad, or from nothing that wants a gradient); ShapeError.
  void watch(std::string name, const Tensor& states);  ///< (B, T, C)
  void watch(std::string name, const Tensor& states,
             const RaggedIndex& lengths);  ///< (B, T, C), padded: rows behind an end do not count
  void watch(std::string name, const Ragged& states);          ///< (N, C)
  void watch(std::string name, const UnrolledStates& states);  ///< steps of (B, P)

  /// What has arrived at everything that is watched, in the order of watch(). StateError where
  /// nothing has: backward() has not run, or the loss does not depend on these states.
  std::vector<Flow> measure() const;
  Flow measure(std::string_view name) const;  ///< ValueError lists the names that are watched

  void clear();  ///< watches nothing any more

 private:
  struct Piece {  // a watched tensor of rows (..., C), and the packed row that each is, or -1
    Tensor rows;
    std::vector<std::int64_t> packed;
  };
  struct Watched {
    std::string name;
    RaggedIndex index;
    std::vector<Piece> pieces;
  };
  void add(Watched watched);
  static Flow measure(const Watched& watched);

  std::vector<Watched> watched_;
};

enum class FlowAxis : std::uint8_t {
  position,  ///< t = 1 .. T
  distance,  ///< from the end, 0 .. T - 1: for sequences of unequal length
};

/// One line for each layer over a logarithmic axis; norms of 0 leave gaps.
Chart chart_of(const std::vector<Flow>& flows, FlowAxis axis = FlowAxis::position);

}  // namespace fovea::nn::inspect
