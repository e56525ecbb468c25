// Running sums of outer products: attention without a (T, S) matrix.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// B batch, T queries, S keys, D width of the features, E width of the values.
struct LinearSizes {
  int64_t B, T, S, D, E;
};

// Query t attends keys [0, end(b, t)): ends[b * b_stride + t], nondecreasing in t, except for
// queries that attend nothing (0).
struct Reach {
  const int64_t* ends;
  int64_t b_stride;  // 0: the same for every batch row

  const int64_t* row(int64_t b) const { return ends + b * b_stride; }
};

// y_t = sum over s < end_t of (a_t . b_s) c_s
// a: (B, T, D)  b: (B, S, D)  c: (B, S, E)  ->  y: (B, T, E)
template <class T>
void prefix_product(const LinearSizes& n, const Reach& reach, const T* a, const T* b, const T* c,
                    T* y);

// y_s = sum over t with end_t > s of (a_s . b_t) c_t
// a: (B, S, D)  b: (B, T, D)  c: (B, T, E)  ->  y: (B, S, E)
template <class T>
void suffix_product(const LinearSizes& n, const Reach& reach, const T* a, const T* b, const T* c,
                    T* y);

// ---- One build per instruction set -------------------------------------------------------------

template <class T>
struct LinearLoops {
  // M += b c^T      b: (D)  c: (W)  M: (D, W)
  void (*add_outer)(int64_t D, int64_t W, const T* b, const T* c, T* M);
  // y = a^T M       a: (D)  M: (D, W)  y: (W)
  void (*row_times)(int64_t D, int64_t W, const T* a, const T* M, T* y);
};

struct LinearTable {
  LinearLoops<float> f32;
  LinearLoops<double> f64;
};

namespace baseline {
extern const LinearTable linear_table;
}
namespace v3 {
extern const LinearTable linear_table;
}
namespace v4 {
extern const LinearTable linear_table;
}

}  // namespace fovea::kernels
