// GradientFlow: the norm of the loss gradient at each position of a sequence.
//
//   GradientFlow flow;
//   const Tensor h = encoder.layers[0](x);  // (B, T, C)
//   flow.watch("layer 0", h);
//   loss(encoder.layers[1](h)).backward();
//   flow.measure("layer 0").by_position();  // T values
//   write_file_atomically("flow.svg", draw_as_svg(chart_of(flow.measure())));
//
// In recurrent nets the gradient shrinks or grows by a factor per step on its way back
// (Hochreiter 1991, Untersuchungen zu dynamischen neuronalen Netzen; Bengio, Simard and Frasconi
// 1994, Learning Long-Term Dependencies with Gradient Descent is Difficult; Pascanu et al. 2013, On
// the Difficulty of Training Recurrent Neural Networks, section 2).
// Attention connects any two positions in one step.
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

/// ||dL/dh_t||_2 after a backward(), for states h anywhere in a model. L is not rescaled: a loss
/// that is a mean over B sequences has a factor 1 / B in every norm.
///
/// The measured value is the gradient of the watched tensor.
///  - For rows that later ops read in parallel (an embedding, the input or output of attention or
///  of
///    a Transformer layer) this is the total derivative. If only the last row of a layer's output
///    is used, the gradient of the other rows is 0; watch the input of that layer instead.
///  - For the output of a recurrent layer it is only the direct part, since h_t also enters h_{t+1}
///    inside the op. Watch the states of unroll(), whose steps are in the graph; or the layer's
///    input x_t, whose gradient includes all later steps.
///
/// Watching shares the tensor and retains its gradient: the model's outputs and gradients are
/// bitwise the same. Gradients of several backward() calls accumulate, as for a leaf. The watched
/// tensors, and the graph below them, live until clear().
class GradientFlow {
 public:
  /// ValueError if the name is in use; StateError if the states have no graph (detached, computed
  /// under NoGrad, or from inputs that require no gradient); ShapeError.
  void watch(std::string name, const Tensor& states);  ///< (B, T, C)
  void watch(std::string name, const Tensor& states,
             const RaggedIndex& lengths);  ///< (B, T, C), padded: padding rows are ignored
  void watch(std::string name, const Ragged& states);          ///< (N, C)
  void watch(std::string name, const UnrolledStates& states);  ///< steps of (B, P)

  /// The gradient norms of all watched states, in the order of watch(). StateError if there is no
  /// gradient: backward() has not run, or the loss does not depend on these states.
  std::vector<Flow> measure() const;
  Flow measure(std::string_view name) const;  ///< ValueError lists the names that are watched

  void clear();  ///< stops watching all tensors

 private:
  struct Piece {  // a watched tensor of rows (..., C), and the packed index of each row, or -1
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
