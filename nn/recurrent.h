// Recurrent layers over ragged batches, and single recurrent cells.
#pragma once

#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/module.h>

#include <functional>
#include <vector>

namespace fovea::nn {

enum class Nonlinearity : std::uint8_t { tanh, relu };

/// ValueError for an option that the architecture does not support.
struct RecurrentOptions {
  std::int64_t input_size;      ///< I
  std::int64_t hidden_size;     ///< H
  std::int64_t num_layers = 1;  ///< L
  bool bias = true;
  bool batch_first = true;                         ///< padded inputs are (B, T, I), else (T, B, I)
  bool bidirectional = false;                      ///< D = 2 instead of 1
  double dropout = 0.0;                            ///< between layers, in training
  Nonlinearity nonlinearity = Nonlinearity::tanh;  ///< of RNN
  std::int64_t proj_size = 0;  ///< LSTM: P, its state is W_hr h (Sak et al. 2014); 0: none, P = H
  bool coupled_gates = false;  ///< LSTM: i = 1 - f, gates f g o (Greff et al. 2017, CIFG)
  bool layer_norm = false;  ///< of W_ih x, of W_hh h, and of LSTM's c (Ba et al. 2016, supplement)
  double variational_dropout = 0.0;  ///< one mask per sequence on a layer's inputs, and one on the
                                     ///< h multiplied by W_hh (Gal and Ghahramani 2016, section 4)
  double zoneout = 0.0;       ///< in training each element of h keeps its old value with this
                              ///< probability; in eval the mean is used (Krueger et al. 2017)
  double cell_zoneout = 0.0;  ///< LSTM: the same for c
  double forget_bias = 0.0;   ///< LSTM: added to the initial f part of bias_ih, or with layer norm
                              ///< of norm_ih_bias (Jozefowicz et al. 2015)
  bool orthogonal = false;    ///< W_hh is initialized orthogonal, per gate (Saxe et al. 2014)
  bool recompute = false;     ///< save only the states, compute the gates again in the backward
};
using RNNOptions = RecurrentOptions;
using GRUOptions = RecurrentOptions;
using LSTMOptions = RecurrentOptions;

/// Layers and directions of a recurrent net, with PyTorch's parameter names and layouts:
/// weight_ih_l0: (G H, I), weight_hh_l0: (G H, P), bias_ih_l0, bias_hh_l0: (G H) for G gates,
/// weight_hr_l0: (P, H); further layers _l1, ...; the backward direction _reverse. With layer norm
/// there are norm_ih_weight_l0, norm_ih_bias_l0, norm_hh_weight_l0, norm_hh_bias_l0: (G H) and
/// LSTM's norm_cell_weight_l0, norm_cell_bias_l0: (H) instead of the biases. Initialized uniform in
/// +-1/sqrt(H). No padding is computed, whatever the order of the sequences in the batch.
/// `rng` must outlive the module: dropout draws from it.
class RecurrentLayers : public Module {
 public:
  struct Output {
    Ragged states;     ///< (N, D P), the directions concatenated
    Tensor last;       ///< (L D, B, P): layer by layer, forward before backward
    Tensor last_cell;  ///< (L D, B, H), of LSTM
  };
  struct PaddedOutput {
    Tensor states;  ///< (B, T, D P), or (T, B, D P) without batch_first
    Tensor last, last_cell;
  };

  /// x: values (N, I).  initial: (L D, B, P), initial_cell: (L D, B, H), of LSTM; undefined: zeros.
  /// For truncated backpropagation through time, start each part from the detached last states of
  /// the previous part (Williams and Peng 1990).  ShapeError, StateError.
  Output operator()(const Ragged& x, const Tensor& initial = {},
                    const Tensor& initial_cell = {}) const;
  /// The same for sequences of equal length T.   x: (B, T, I), or (T, B, I) without batch_first
  PaddedOutput operator()(const Tensor& x, const Tensor& initial = {},
                          const Tensor& initial_cell = {}) const;

  /// The op of one layer, with the arguments of recurrent().
  using Layer = std::function<RecurrentOutput(
      const Tensor& input, const std::vector<RecurrentDirection>& directions,
      const RaggedIndex& index, const RecurrentSettings& settings)>;
  /// The same with another op in place of recurrent(), such as its reference implementation or an
  /// observed one.
  Output forward(const Layer& layer, const Ragged& x, const Tensor& initial = {},
                 const Tensor& initial_cell = {}) const;

  void visit(Visitor& v) override;
  const RecurrentOptions& options() const { return options_; }
  RecurrentKind kind() const { return kind_; }

 protected:
  RecurrentLayers(const char* name, RecurrentKind kind, const RecurrentOptions& options, Rng& rng);

 private:
  struct Direction {
    Tensor weight_ih, weight_hh, bias_ih, bias_hh, weight_hr;
    Tensor norm_ih_weight, norm_ih_bias, norm_hh_weight, norm_hh_bias, norm_cell_weight,
        norm_cell_bias;
  };
  Direction make_direction(std::int64_t inputs) const;
  std::int64_t directions() const { return options_.bidirectional ? 2 : 1; }
  std::int64_t state_size() const {
    return options_.proj_size > 0 ? options_.proj_size : options_.hidden_size;
  }
  RecurrentDirection direction_inputs(std::int64_t at, const Ragged& x, const Tensor& initial,
                                      const Tensor& initial_cell) const;
  RecurrentOutput run_layer(const Layer& layer, std::int64_t l, const Ragged& x,
                            const Tensor& initial, const Tensor& initial_cell) const;
  void check_input(const Ragged& x) const;
  void check_initial(const char* what, const Tensor& initial, std::int64_t size,
                     std::int64_t B) const;
  Tensor random_mask(const Shape& shape, double p, DType dtype) const;

  const char* name_;
  RecurrentKind kind_;
  RecurrentOptions options_;
  Rng* rng_;
  std::vector<Direction> weights_;  // (L D): layer by layer, forward before backward
  Dropout dropout_;
};

/// Elman network (1990):   h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or max(0, ...)
class RNN : public RecurrentLayers {
 public:
  RNN(const RNNOptions& options, Rng& rng);
};

/// Gated recurrent unit (Cho et al. 2014, section 2.3), PyTorch's variant; gate order r z n:
///   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z likewise
///   n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h
class GRU : public RecurrentLayers {
 public:
  GRU(const GRUOptions& options, Rng& rng);
};

/// Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000);
/// gate order i f g o:
///   i = sigmoid(W_ii x + b_ii + W_hi h + b_hi),  f and o likewise,  g = tanh(...)
///   c' = f c + i g,  h' = o tanh(c')
class LSTM : public RecurrentLayers {
 public:
  LSTM(const LSTMOptions& options, Rng& rng);
};

/// ValueError for an option that the architecture does not support.
struct RecurrentCellOptions {
  std::int64_t input_size;
  std::int64_t hidden_size;
  bool bias = true;
  Nonlinearity nonlinearity = Nonlinearity::tanh;  ///< of RNNCell
};
using RNNCellOptions = RecurrentCellOptions;
using GRUCellOptions = RecurrentCellOptions;
using LSTMCellOptions = RecurrentCellOptions;

/// One step of a recurrent layer, with the parameters weight_ih, weight_hh, bias_ih, bias_hh.
class RecurrentCell : public Module {
 public:
  void visit(Visitor& v) override;

  Tensor weight_ih, weight_hh, bias_ih, bias_hh;

 protected:
  RecurrentCell(const char* name, RecurrentKind kind, const RecurrentCellOptions& options,
                Rng& rng);
  RecurrentOutput run(const Tensor& x, const Tensor& input_gates, const Tensor& h,
                      const Tensor& c) const;

 private:
  RecurrentKind kind_;
};

/// One step of an RNN.   x: (B, I)  h: (B, H), undefined: zeros  ->  (B, H)
class RNNCell : public RecurrentCell {
 public:
  RNNCell(const RNNCellOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Tensor& h = {}) const;
};

/// One step of a GRU.   x: (B, I)  h: (B, H), undefined: zeros  ->  (B, H)
class GRUCell : public RecurrentCell {
 public:
  GRUCell(const GRUCellOptions& options, Rng& rng);
  Tensor operator()(const Tensor& x, const Tensor& h = {}) const;
  /// One step from the input part of the gates, x W_ih^T + b_ih: (B, 3H), for callers that compute
  /// it for many steps at once.
  Tensor step(const Tensor& input_gates, const Tensor& h) const;
};

/// One step of an LSTM.   x: (B, I)  h, c: (B, H), undefined: zeros
class LSTMCell : public RecurrentCell {
 public:
  struct State {
    Tensor h, c;  ///< (B, H)
  };
  LSTMCell(const LSTMCellOptions& options, Rng& rng);
  State operator()(const Tensor& x, const State& before = {}) const;
};

}  // namespace fovea::nn
