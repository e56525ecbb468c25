// The linear recurrent unit (LRU), and its residual block.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/module.h>
#include <fovea/nn/norm.h>

#include <optional>

namespace fovea::nn {

struct LRUOptions {
  std::int64_t width;       ///< C
  std::int64_t state_size;  ///< H complex numbers
  double r_min = 0;         ///< initial |lambda| is in [r_min, r_max]: 0 <= r_min < r_max <= 1
  double r_max = 1;
  double max_phase = 6.283185307179586;  ///< initial angle of lambda is in [0, max_phase]; above 0
};

/// A diagonal linear recurrence of complex numbers (Orvieto et al. 2023, Resurrecting Recurrent
/// Neural Networks for Long Sequences, sections 3.2 to 3.4, appendix A):
///   h_t = lambda * h_{t-1} + gamma * (B x_t),    y_t = Re(C h_t) + D * x_t
///   lambda = exp(-exp(nu_log) + i exp(theta_log)),   gamma = exp(gamma_log)
/// |lambda| <= 1 for all parameters (1 only by rounding): the state cannot explode. lambda is
/// initialized uniformly on the ring between r_min and r_max, gamma to sqrt(1 - |lambda|^2), which
/// gives states of the same magnitude for any |lambda|. The closer r_min is to 1, the longer the
/// memory; long inputs also need a small max_phase (section 3.4). Parameters as in the paper's
/// code: nu_log, theta_log, gamma_log (H), B_re, B_im (H, C), C_re, C_im (C, H), D (C). States hold
/// the real parts, then the imaginary parts: 2H.
class LRU : public Module {
 public:
  struct Output {
    Ragged outputs;  ///< (N, C)
    Tensor last;     ///< (B, 2H)
  };

  /// ValueError for an invalid ring, or a size below 1.
  LRU(const LRUOptions& options, Rng& rng);

  /// x: values (N, C).  initial: (B, 2H), or undefined for zeros.  `reverse` runs each sequence
  /// from its end to its start.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {}, bool reverse = false) const;
  void visit(Visitor& v) override;

  Tensor nu_log, theta_log, gamma_log, B_re, B_im, C_re, C_im, D;
};

struct LRUBlockOptions {
  LRUOptions lru;
  double dropout = 0.0;
  bool bidirectional = false;  ///< adds a second LRU that runs from the end
};

/// y = x + dropout(GLU(W dropout(gelu(LRU(norm(x)))) + b)),   GLU((u, v)) = u * sigmoid(v)
/// The residual block of figure 1, with layer norm and the gated linear unit: the only nonlinear
/// mixing of channels. W: (2C, C). x: (N, C)  ->  (N, C)
class LRUBlock : public Module {
 public:
  struct Output {
    Ragged outputs;  ///< (N, C)
    Tensor last;     ///< (1, B, 2H), or (2, B, 2H) if bidirectional
  };
  struct Step {
    Tensor output;  ///< (B, C)
    Tensor state;   ///< (1, B, 2H), for the next step
  };

  LRUBlock(const LRUBlockOptions& options, Rng& rng);

  /// x: values (N, C).  initial: as `last`, or undefined for zeros.  ShapeError.
  Output operator()(const Ragged& x, const Tensor& initial = {}) const;
  /// One token of each sequence: n steps equal one call with n rows per sequence.
  ///   x: (B, C)  state: (1, B, 2H), or undefined at the start.   ValueError if bidirectional.
  Step step(const Tensor& x, const Tensor& state = {}) const;
  void visit(Visitor& v) override;

  LayerNorm norm;
  LRU lru;
  std::optional<LRU> lru_reverse;
  Linear out;  ///< (2C, C)
  Dropout drop;
};

}  // namespace fovea::nn
