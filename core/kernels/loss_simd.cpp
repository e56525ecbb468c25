#include <fovea/core/kernels/loss.h>
#include <fovea/core/kernels/row_sums.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
T weight_of(const CrossEntropy<T>& spec, int64_t c) {
  return spec.weight ? spec.weight[c] : 1;
}

template <class T>
T weight_sum(const CrossEntropy<T>& spec) {
  if (!spec.weight) return static_cast<T>(spec.V);
  return row_sum<T>(spec.V, [&](int64_t c) { return spec.weight[c]; });
}

// From here on a rounded log-sum-exp loses digits of its logarithm, so x - lse is computed in two
// steps: (x - largest) - log_sum.
template <class T>
inline constexpr T large_lse = 1024;

// sum_c w_c (lse - x_c), and 0 for a class of weight 0. A sum of non-negative terms: sum w * lse -
// sum w x would cancel.
template <class T>
T loss_of_all_classes(const CrossEntropy<T>& spec, const T* x, T largest, T log_sum) {
  const T top = magnitude(largest) < large_lse<T> ? 0 : largest;
  const T rest = top == 0 ? largest + log_sum : log_sum;
  if (!spec.weight) return row_sum<T>(spec.V, [&](int64_t c) { return rest - (x[c] - top); });
  return row_sum<T>(spec.V, [&](int64_t c) {
    const T w = spec.weight[c], term = w * (rest - (x[c] - top));
    return w == 0 ? T{0} : term;
  });
}

// lse - x_t as log_sum - (x_t - largest): if the target dominates its row both terms are near 0,
// without cancellation.
template <class T>
void cross_entropy(const CrossEntropy<T>& spec, const T* x, const int64_t* target, int64_t rows,
                   T* loss, T* lse) {
  const int64_t V = spec.V;
  for (int64_t row = 0; row < rows; ++row, x += V) {
    const int64_t t = target[row];
    if (t == spec.ignore_index) {
      loss[row] = lse[row] = 0;
      continue;
    }
    const T largest = row_max(x, V);
    const T log_sum = log(row_sum<T>(V, [&](int64_t c) { return exp(x[c] - largest); }));
    lse[row] = largest + log_sum;
    const T own = (1 - spec.smoothing) * weight_of(spec, t);
    loss[row] = own == 0 ? T{0} : own * (log_sum - (x[t] - largest));  // 0 times infinity is 0
    if (spec.smoothing != 0)
      loss[row] +=
          spec.smoothing / static_cast<T>(V) * loss_of_all_classes(spec, x, largest, log_sum);
  }
}

// dx_c = exp((x_c - largest) - log_sum): softmax where the log-sum-exp is large.
template <class T>
void softmax_of_large(const T* x, int64_t V, T* dx) {
  const T largest = row_max(x, V);
  const T log_sum = log(row_sum<T>(V, [&](int64_t c) { return exp(x[c] - largest); }));
#pragma omp simd
  for (int64_t c = 0; c < V; ++c) dx[c] = exp((x[c] - largest) - log_sum);
}

template <class T>
void cross_entropy_backward(const CrossEntropy<T>& spec, const T* x, const int64_t* target,
                            const T* lse, const T* dloss, int64_t rows, T* dx) {
  const int64_t V = spec.V;
  const T share = spec.smoothing / static_cast<T>(V);  // of each class
  const T shares = spec.smoothing != 0 ? share * weight_sum(spec) : 0;
  for (int64_t row = 0; row < rows; ++row, x += V, dx += V) {
    const int64_t t = target[row];
    if (t == spec.ignore_index) {
      for (int64_t c = 0; c < V; ++c) dx[c] = 0;
      continue;
    }
    const T on_target = dloss[row] * (1 - spec.smoothing) * weight_of(spec, t);
    const T on_all = dloss[row] * shares + on_target;
    const T shift = lse[row];
    const T each = dloss[row] * share;
    if (magnitude(shift) >= large_lse<T>) [[unlikely]] {
      softmax_of_large(x, V, dx);
      for (int64_t c = 0; c < V; ++c) dx[c] = on_all * dx[c] - each * weight_of(spec, c);
    } else if (each != 0 && spec.weight) {
#pragma omp simd
      for (int64_t c = 0; c < V; ++c) dx[c] = on_all * exp(x[c] - shift) - each * spec.weight[c];
    } else {
#pragma omp simd
      for (int64_t c = 0; c < V; ++c) dx[c] = on_all * exp(x[c] - shift) - each;
    }
    dx[t] -= on_target;
  }
}

template <class T>
constexpr LossRows<T> rows_of = {
    .cross_entropy = cross_entropy<T>,
    .cross_entropy_backward = cross_entropy_backward<T>,
};

}  // namespace

extern const LossTable loss_table;
const LossTable loss_table = {.f32 = rows_of<float>, .f64 = rows_of<double>};

}  // namespace fovea::kernels::FOVEA_ISA
