// Cross-entropy from logits, softmax included. Row-major, contiguous; T is float or double.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// Parameters of the loss, besides logits and targets.
template <class T>
struct CrossEntropy {
  int64_t V;             // number of classes
  int64_t ignore_index;  // rows with this target have loss 0 and gradient 0
  T smoothing;           // share of the target's probability spread evenly over all classes
  const T* weight;       // (V) weight of each class, or null: all 1
};

// With e = smoothing, w = weight, t = target, and lse = log sum_c exp(x_c):
//   loss = (1 - e) w_t (lse - x_t) + e / V sum_c w_c (lse - x_c)        per row
// x: (rows, V)   target, loss, lse: (rows); lse is saved for backward
// Targets must be below V, or equal to ignore_index.
template <class T>
void cross_entropy(const CrossEntropy<T>& spec, const T* x, const int64_t* target, int64_t rows,
                   T* loss, T* lse);

// dx_c = dloss ( ((1 - e) w_t + e / V sum w) exp(x_c - lse) - e / V w_c - [c = t] (1 - e) w_t )
template <class T>
void cross_entropy_backward(const CrossEntropy<T>& spec, const T* x, const int64_t* target,
                            const T* lse, const T* dloss, int64_t rows, T* dx);

// The single-thread loops for one instruction set.
template <class T>
struct LossRows {
  void (*cross_entropy)(const CrossEntropy<T>& spec, const T* x, const int64_t* target,
                        int64_t rows, T* loss, T* lse);
  void (*cross_entropy_backward)(const CrossEntropy<T>& spec, const T* x, const int64_t* target,
                                 const T* lse, const T* dloss, int64_t rows, T* dx);
};

struct LossTable {
  LossRows<float> f32;
  LossRows<double> f64;
};

}  // namespace fovea::kernels
