// Recurrent layers over ragged batches.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

struct GRUOptions {
  std::int64_t input_size;      ///< I
  std::int64_t hidden_size;     ///< H
  std::int64_t num_layers = 1;  ///< L
  bool bias = true;
  bool bidirectional = false;  ///< D = 2 instead of 1
  double dropout = 0.0;        ///< between layers, in training
};

/// Gated recurrent unit (Cho et al. 2014, section 2.3), PyTorch's variant, parameter names and
/// layouts:
///   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z likewise
///   n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h
/// weight_ih_l0: (3H, I), weight_hh_l0: (3H, H), bias_ih_l0, bias_hh_l0: (3H); gate order r z n;
/// further layers _l1, ...; the backward direction _reverse. Starts uniform in +-1/sqrt(H). No
/// padding is computed: a batch costs what its real tokens cost.
class GRU : public Module {
 public:
  struct Output {
    Ragged states;  ///< (N, D H), the directions side by side
    Tensor last;    ///< (L D, B, H): layer by layer, forward before backward
  };

  GRU(GRUOptions options, Rng& rng);

  /// x: values (N, I).  initial: (L D, B, H), or undefined for zeros.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {}) const;
  void visit(Visitor& v) override;

  const GRUOptions& options() const { return options_; }

 private:
  struct Direction {
    Tensor weight_ih, weight_hh, bias_ih, bias_hh;
  };
  std::int64_t directions() const { return options_.bidirectional ? 2 : 1; }

  GRUOptions options_;
  std::vector<Direction> weights_;  // L D of them, in the order of `last`
  Dropout dropout_;
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
