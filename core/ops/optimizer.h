// Optimizer updates, in place and not recorded. A parameter and its state tensors must be
// contiguous and have the same shape and dtype, else an error names them.
#pragma once

#include <fovea/core/tensor.h>

namespace fovea {

// g = dw + weight_decay w
// v = momentum v + (1 - dampening) g        first step: v = g
// w = w - lr v                              nesterov: w = w - lr (g + momentum v)
//
// Polyak 1964; Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum
// in deep learning, ICML 2013, with lr outside of the velocity, as in PyTorch's SGD.
struct SgdRule {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};
/// `velocity` is not used, and may be undefined, if momentum = 0.
void sgd_step(Tensor& w, const Tensor& dw, Tensor& velocity, const SgdRule& rule, bool first);

// g = dw + weight_decay w                   decoupled: w = (1 - lr weight_decay) w,  g = dw
// m = beta1 m + (1 - beta1) g,              v = beta2 v + (1 - beta2) g^2
// w = w - lr m' / (sqrt(v') + eps)          m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)
//
// A finite |g| above sqrt(largest finite value), 1.8e19 for f32, is clamped to that bound: g^2
// would be infinite, and v with it from then on. A NaN or infinite g makes w NaN.
//
// Kingma, Ba: Adam, ICLR 2015, algorithm 1; decoupled: Loshchilov, Hutter: Decoupled Weight Decay
// Regularization, ICLR 2019, algorithm 2 (AdamW).
struct AdamRule {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;
};
/// `t` counts the steps of this parameter from 1; `m` and `v` must be zero before the first.
void adam_step(Tensor& w, const Tensor& dw, Tensor& m, Tensor& v, const AdamRule& rule,
               std::int64_t t);

/// Sum of x_i^2 in double, the same for any number of threads.
double sum_of_squares(const Tensor& x);

}  // namespace fovea
