#include <fovea/core/kernels/additive_attention.h>
#include <fovea/core/kernels/vecmath.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
T score(int64_t A, const T* q, const T* k, const T* v) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t a = 0; a < A; ++a) sum += v[a] * tanh(q[a] + k[a]);
  return sum;
}

template <class T>
void score_gradient(int64_t A, T ds, const T* q, const T* k, const T* v, T* dq, T* dk, T* dv) {
#pragma omp simd
  for (int64_t a = 0; a < A; ++a) {
    const T th = tanh(q[a] + k[a]);
    const T inner = ds * v[a] * (1 - th * th);
    dq[a] += inner;
    dk[a] += inner;
    dv[a] += ds * th;
  }
}

template <class T>
void softmax(int64_t S, const bool* keep, T* row) {
  T top = -infinity<T>;
  for (int64_t s = 0; s < S; ++s)
    if ((!keep || keep[s]) && !(row[s] <= top)) top = row[s];  // a NaN becomes the top and stays
  if (top == -infinity<T>) top = 0;  // no key, or only -inf: avoids exp(-inf + inf) = NaN
  T sum = 0;
  for (int64_t s = 0; s < S; ++s) {
    row[s] = !keep || keep[s] ? exp(row[s] - top) : T(0);
    sum += row[s];
  }
  const T scale = sum == 0 ? T(0) : 1 / sum;
  for (int64_t s = 0; s < S; ++s) row[s] = !keep || keep[s] ? row[s] * scale : T(0);
}

template <class T>
T dot(int64_t n, const T* a, const T* b) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
void add_scaled(int64_t n, T factor, const T* x, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

}  // namespace

extern const AdditiveTable additive_table;
const AdditiveTable additive_table = {
    {score<float>, score_gradient<float>, softmax<float>, dot<float>, add_scaled<float>},
    {score<double>, score_gradient<double>, softmax<double>, dot<double>, add_scaled<double>},
};

}  // namespace fovea::kernels::FOVEA_ISA
