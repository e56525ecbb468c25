// Recurrent layers without a matrix product in the recurrence: the gates do not depend on the
// hidden state, so that a scan computes all steps of all sequences in parallel.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/module.h>

#include <vector>

namespace fovea::nn {

/// ValueError if a size is below 1 or `dropout` is outside [0, 1].
struct MinRecurrentOptions {
  std::int64_t input_size;      ///< I
  std::int64_t hidden_size;     ///< H
  std::int64_t num_layers = 1;  ///< L
  bool bias = true;
  bool bidirectional = false;  ///< D = 2 instead of 1
  double dropout = 0.0;        ///< between layers, in training
};
using MinGRUOptions = MinRecurrentOptions;
using MinLSTMOptions = MinRecurrentOptions;

/// The common base of minGRU and minLSTM (Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, Were RNNs
/// All We Needed?): layers and directions as in GRU, called like GRU with a ragged batch, each
///   h_t = a_t * h_{t-1} + b_t,   a_t and b_t functions of the input x_t alone
/// The paper's training code works in log space, since its scan divides by products of a_t that
/// underflow. The scan of core/ops/scan.h has no division: it uses a_t and b_t directly, with
///   g(x) = x + 1/2 where x >= 0, sigmoid(x) elsewhere                     (appendix B)
/// as in the paper's log-space version, and accepts initial states of any sign. Parameters are
/// named as in GRU: weight_ih_l0 (G H, I), bias_ih_l0 (G H) for G gates, then _l1, ...; the
/// backward direction _reverse. They are initialized uniform in +-1/sqrt(I), as in Linear.
class MinRecurrentLayers : public Module {
 public:
  struct Output {
    Ragged states;  ///< (N, D H), the directions concatenated
    Tensor last;    ///< (L D, B, H): layer by layer, forward before backward
  };
  struct Step {
    Tensor output;  ///< (B, H), of the last layer
    Tensor state;   ///< (L, B, H), for the next step
  };

  /// x: values (N, I).  initial: (L D, B, H), or undefined for zeros.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {}) const;
  /// One token of each sequence, for decoding: n steps equal one call with n rows per sequence.
  ///   x: (B, I)  state: (L, B, H), or undefined at the start.   ValueError if bidirectional.
  Step step(const Tensor& x, const Tensor& state = {}) const;
  void visit(Visitor& v) override;
  const MinRecurrentOptions& options() const { return options_; }

 protected:
  MinRecurrentLayers(const char* net, const MinRecurrentOptions& options, std::int64_t gates,
                     Rng& rng);

  struct Coefficients {
    Tensor a, b;  ///< (N, H)
  };
  /// gates: x W_ih^T + b_ih, (N, G H).
  virtual Coefficients coefficients(const Tensor& gates) const = 0;

 private:
  struct Direction {
    Tensor weight_ih, bias_ih;
  };
  std::int64_t directions() const { return options_.bidirectional ? 2 : 1; }
  void check_initial(const Tensor& initial, std::int64_t B) const;

  const char* net_;
  MinRecurrentOptions options_;
  std::vector<Direction> weights_;  // (L D): layer by layer, forward before backward
  Dropout dropout_;
};

/// minGRU (section 3.1, appendix B); gate order z h:
///   z = sigmoid(W_z x + b_z),   h' = (1 - z) h + z g(W_h x + b_h)
class MinGRU : public MinRecurrentLayers {
 public:
  MinGRU(const MinGRUOptions& options, Rng& rng) : MinRecurrentLayers("MinGRU", options, 2, rng) {}

 protected:
  Coefficients coefficients(const Tensor& gates) const override;
};

/// minLSTM, independent of the time scale (section 3.2, appendix B); gate order f i h:
///   f = sigmoid(W_f x + b_f),   i = sigmoid(W_i x + b_i)
///   h' = f / (f + i) h + i / (f + i) g(W_h x + b_h)
class MinLSTM : public MinRecurrentLayers {
 public:
  MinLSTM(const MinLSTMOptions& options, Rng& rng)
      : MinRecurrentLayers("MinLSTM", options, 3, rng) {}

 protected:
  Coefficients coefficients(const Tensor& gates) const override;
};

}  // namespace fovea::nn
