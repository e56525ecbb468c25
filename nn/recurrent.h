// Recurrent layers over ragged batches.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/module.h>

#include <functional>
#include <vector>

namespace fovea::nn {

struct RecurrentOptions {
  std::int64_t input_size;      ///< I
  std::int64_t hidden_size;     ///< H
  std::int64_t num_layers = 1;  ///< L
  bool bias = true;
  bool bidirectional = false;  ///< D = 2 instead of 1
  double dropout = 0.0;        ///< between layers, in training
};
using GRUOptions = RecurrentOptions;
using LSTMOptions = RecurrentOptions;

/// Layers and directions of a recurrent net, with PyTorch's parameter names and layouts:
/// weight_ih_l0: (G H, I), weight_hh_l0: (G H, H), bias_ih_l0, bias_hh_l0: (G H) for G gates;
/// further layers _l1, ...; the backward direction _reverse. Starts uniform in +-1/sqrt(H). No
/// padding is computed: a batch costs what its real tokens cost. `rng` must outlive the module:
/// dropout draws from it.
class RecurrentLayers : public Module {
 public:
  void visit(Visitor& v) override;
  const RecurrentOptions& options() const { return options_; }

 protected:
  RecurrentLayers(const RecurrentOptions& options, std::int64_t gates, Rng& rng);

  struct Direction {
    Tensor weight_ih, weight_hh, bias_ih, bias_hh;
  };
  /// One direction of one layer, number `at` in the order of PyTorch's last states.
  /// gates: (N, G H), what the input contributes  ->  (N, H)
  using Run = std::function<Tensor(std::int64_t at, const Direction& weights, const Tensor& gates,
                                   bool reverse)>;
  Ragged run(const Ragged& x, const Run& layer) const;  ///< (N, I) -> (N, D H)
  /// ShapeError unless undefined or (L D, B, H).
  void check_initial(const char* net, const Tensor& initial, std::int64_t B) const;

 private:
  std::int64_t directions() const { return options_.bidirectional ? 2 : 1; }

  RecurrentOptions options_;
  std::vector<Direction> weights_;  // L D of them: layer by layer, forward before backward
  Dropout dropout_;
};

/// Gated recurrent unit (Cho et al. 2014, section 2.3), PyTorch's variant; gate order r z n:
///   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z likewise
///   n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h
class GRU : public RecurrentLayers {
 public:
  struct Output {
    Ragged states;  ///< (N, D H), the directions side by side
    Tensor last;    ///< (L D, B, H): layer by layer, forward before backward
  };

  GRU(const GRUOptions& options, Rng& rng) : RecurrentLayers(options, 3, rng) {}

  /// x: values (N, I).  initial: (L D, B, H), or undefined for zeros.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {}) const;
};

/// Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000);
/// gate order i f g o:
///   i = sigmoid(W_ii x + b_ii + W_hi h + b_hi),  f and o likewise,  g = tanh(...)
///   c' = f c + i g,  h' = o tanh(c')
class LSTM : public RecurrentLayers {
 public:
  struct Output {
    Ragged states;     ///< (N, D H), the directions side by side
    Tensor last;       ///< (L D, B, H)
    Tensor last_cell;  ///< (L D, B, H)
  };

  LSTM(const LSTMOptions& options, Rng& rng) : RecurrentLayers(options, 4, rng) {}

  /// x: values (N, I).  initial, initial_cell: (L D, B, H), or undefined for zeros.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {},
                    const Tensor& initial_cell = {}) const;
};

struct GRUCellOptions {
  std::int64_t input_size;
  std::int64_t hidden_size;
};

/// One step of a GRU, with the same parameters (weight_ih, weight_hh, bias_ih, bias_hh).
class GRUCell : public Module {
 public:
  GRUCell(GRUCellOptions options, Rng& rng);

  /// x: (B, I)  h: (B, H)  ->  (B, H)
  Tensor operator()(const Tensor& x, const Tensor& h) const;
  /// The step from what the input contributes, x W_ih^T + b_ih: (B, 3H), for callers that compute
  /// that for many steps at once.
  Tensor step(const Tensor& input_gates, const Tensor& h) const;
  void visit(Visitor& v) override;

  Tensor weight_ih, weight_hh, bias_ih, bias_hh;
};

}  // namespace fovea::nn
