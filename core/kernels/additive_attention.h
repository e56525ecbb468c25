// Additive attention, one query row at a time: scores, weights and context in one pass while the
// keys are in the cache.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// B batch, T queries, S keys, A width of the scores, C width of the values.
struct AdditiveSizes {
  int64_t B, T, S, A, C;
};

// Mask, (B, T, S) with strides of 0 for broadcast axes: true where a key is attended; null: all.
struct MaskTable {
  const bool* data;
  int64_t b_stride, t_stride;

  const bool* row(int64_t b, int64_t t) const {
    return data ? data + b * b_stride + t * t_stride : nullptr;
  }
};

//   e_s = v . tanh(q_t + k_s),   a = softmax(e) over the attended s,   c_t = sum_s a_s x_s
// q: (B, T, A)  k: (B, S, A)  v: (A)  x: (B, S, C)  ->  weights a: (B, T, S)  context c: (B, T, C)
// A query that attends no key has weights and context 0.
template <class T>
void additive_attention_forward(const AdditiveSizes& n, const MaskTable& keep, const T* q,
                                const T* k, const T* v, const T* x, T* weights, T* context);

// From the gradients of the context (or null) and of the weights (or null). The tanh is recomputed:
// storing and loading T S A values would take longer. Each result is overwritten:
// dq: (B, T, A)  dk: (B, S, A)  dv: (A)  dx: (B, S, C)
template <class T>
void additive_attention_backward(const AdditiveSizes& n, const T* q, const T* k, const T* v,
                                 const T* x, const T* weights, const T* dcontext, const T* dweights,
                                 T* dq, T* dk, T* dv, T* dx);

// ---- One build per instruction set -------------------------------------------------------------

template <class T>
struct AdditiveLoops {
  // v . tanh(q + k)
  T (*score)(int64_t A, const T* q, const T* k, const T* v);
  // dq += ds v (1 - tanh^2),  dk likewise,  dv += ds tanh
  void (*score_gradient)(int64_t A, T ds, const T* q, const T* k, const T* v, T* dq, T* dk, T* dv);
  // Weights from scores, in place; masked keys get 0.
  void (*softmax)(int64_t S, const bool* keep, T* row);
  T (*dot)(int64_t n, const T* a, const T* b);
  void (*add_scaled)(int64_t n, T factor, const T* x, T* y);  // y += factor x
};

struct AdditiveTable {
  AdditiveLoops<float> f32;
  AdditiveLoops<double> f64;
};

namespace baseline {
extern const AdditiveTable additive_table;
}
namespace v3 {
extern const AdditiveTable additive_table;
}
namespace v4 {
extern const AdditiveTable additive_table;
}

}  // namespace fovea::kernels
