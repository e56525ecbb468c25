#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/kernels/vecmath.h>

#include <cmath>
#include <type_traits>

namespace fovea::kernels::FOVEA_ISA {
namespace {

constexpr double kNormEpsilon = 1e-5;  // as in LayerNorm

template <class T, bool relu>
void rnn_forward(int64_t H, const CellRow<T>& row) {
  const T *gi = row.gi, *gh = row.gh;
  T *h = row.h_next, *gates = row.gates;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T g = gi[k] + gh[k];
    if constexpr (relu) {
      h[k] = gates[k] = g < 0 ? T(0) : g;  // propagates NaN
    } else {
      h[k] = gates[k] = tanh(g);
    }
  }
}

template <class T, bool relu>
void rnn_backward(int64_t H, const CellRowGrads<T>& row) {
  const T *dh = row.dh, *gates = row.gates;
  T *dgates = row.dgates, *dgh = row.dgh;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T slope = relu ? (gates[k] > 0 ? T(1) : T(0)) : 1 - gates[k] * gates[k];
    dgates[k] = dgh[k] = dh[k] * slope;
  }
}

template <class T>
void gru_forward(int64_t H, const CellRow<T>& row) {
  const T *gi = row.gi, *gh = row.gh, *h = row.h;
  T *next = row.h_next, *gates = row.gates;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T r = sigmoid(gi[k] + gh[k]);
    const T z = sigmoid(gi[H + k] + gh[H + k]);
    const T n = tanh(gi[2 * H + k] + r * gh[2 * H + k]);
    next[k] = (1 - z) * n + z * h[k];
    gates[k] = r;
    gates[H + k] = z;
    gates[2 * H + k] = n;
    gates[3 * H + k] = gh[2 * H + k];
  }
}

template <class T>
void gru_backward(int64_t H, const CellRowGrads<T>& row) {
  const T *h = row.h, *gates = row.gates;
  T *dh = row.dh, *dgates = row.dgates, *dgh = row.dgh;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T r = gates[k], z = gates[H + k], n = gates[2 * H + k], gh_n = gates[3 * H + k];
    const T dn = dh[k] * (1 - z) * (1 - n * n);
    const T dz = dh[k] * (h[k] - n) * z * (1 - z);
    const T dr = dn * gh_n * r * (1 - r);
    dgates[k] = dgh[k] = dr;
    dgates[H + k] = dgh[H + k] = dz;
    dgates[2 * H + k] = dn;
    dgates[3 * H + k] = dgh[2 * H + k] = dn * r;
    dh[k] *= z;
  }
}

// Offsets of the gates of an LSTM; a coupled one has no separate i.
template <bool coupled>
struct LstmPlaces {
  static constexpr int64_t i = 0, f = coupled ? 0 : 1, u = f + 1, o = f + 2;
};

template <class T>
struct Moments {
  T mean, scale;  // scale = 1 / sqrt(variance + epsilon)
};

template <class T>
Moments<T> wide_moments(int64_t n, const T* x, T eps) {
  using W = std::conditional_t<sizeof(T) == sizeof(float), double, long double>;
  W mean = 0, rest = 0, variance = 0;
  for (int64_t k = 0; k < n; ++k) mean += static_cast<W>(x[k]) / static_cast<W>(n);
  for (int64_t k = 0; k < n; ++k) rest += static_cast<W>(x[k]) - mean;
  mean += rest / static_cast<W>(n);
  for (int64_t k = 0; k < n; ++k) {
    const W d = static_cast<W>(x[k]) - mean;
    variance += d * d;
  }
  const W scale = 1 / std::sqrt(variance / static_cast<W>(n) + static_cast<W>(eps));
  return {static_cast<T>(mean), static_cast<T>(scale)};
}

template <class T>
Moments<T> moments_of(int64_t n, const T* x) {
  T total = 0, squares = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t k = 0; k < n; ++k) total += x[k];
  const T mean = total / static_cast<T>(n);
#pragma omp simd reduction(+ : squares)
  for (int64_t k = 0; k < n; ++k) squares += (x[k] - mean) * (x[k] - mean);
  const T variance = squares / static_cast<T>(n), eps = static_cast<T>(kNormEpsilon);
  // As layer_norm: squares that overflow, or a mean whose rounding error is not negligible.
  constexpr T limit = sizeof(T) == sizeof(float) ? T(0x1p100) : T(0x1p200) * T(0x1p700);
  const T square = mean * mean;
  if (!(variance < limit && variance >= T(0x1p-34) * square &&
        variance + eps >= T(0x1p-20) * square)) [[unlikely]]
    return wide_moments(n, x, eps);
  return {mean, 1 / square_root(variance + eps)};
}

template <class T, bool coupled, bool normed>
void lstm_forward(int64_t H, const CellRow<T>& row) {
  using At = LstmPlaces<coupled>;
  const T *gi = row.gi, *gh = row.gh, *c = row.c;
  T *h = row.h_next, *next = row.c_next, *gates = row.gates;
  const auto gate = [&](int64_t at) __attribute__((always_inline)) { return gi[at] + gh[at]; };
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T f = sigmoid(gate(At::f * H + k));
    const T i = coupled ? 1 - f : sigmoid(gate(k));
    const T u = tanh(gate(At::u * H + k));
    const T o = sigmoid(gate(At::o * H + k));
    next[k] = f * c[k] + i * u;
    if constexpr (!normed) h[k] = o * tanh(next[k]);
    if constexpr (!coupled) gates[k] = i;
    gates[At::f * H + k] = f;
    gates[At::u * H + k] = u;
    gates[At::o * H + k] = o;
  }
  if constexpr (!normed) return;
  const Moments<T> of = moments_of(H, next);
  const T *weight = row.norm_weight, *bias = row.norm_bias;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k)
    h[k] = gates[At::o * H + k] * tanh(weight[k] * ((next[k] - of.mean) * of.scale) + bias[k]);
}

// Gradients by the gates and by c, from dc (by c') and dh. c' is recomputed: the saved cell may be
// mixed with c (zoneout).
template <class T, bool coupled>
void lstm_gates_backward(int64_t H, const CellRowGrads<T>& row, const T* dh_o) {
  using At = LstmPlaces<coupled>;
  const T *c = row.c, *gates = row.gates;
  T *dc = row.dc, *dgates = row.dgates, *dgh = row.dgh;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T f = gates[At::f * H + k], u = gates[At::u * H + k], o = gates[At::o * H + k];
    const T i = coupled ? 1 - f : gates[k];
    if constexpr (coupled) {
      dgates[k] = dgh[k] = dc[k] * (c[k] - u) * f * (1 - f);
    } else {
      dgates[k] = dgh[k] = dc[k] * u * i * (1 - i);
      dgates[H + k] = dgh[H + k] = dc[k] * c[k] * f * (1 - f);
    }
    dgates[At::u * H + k] = dgh[At::u * H + k] = dc[k] * i * (1 - u * u);
    dgates[At::o * H + k] = dgh[At::o * H + k] = dh_o[k] * o * (1 - o);
    dc[k] *= f;
  }
}

template <class T, bool coupled>
void lstm_backward(int64_t H, const CellRowGrads<T>& row) {
  using At = LstmPlaces<coupled>;
  const T *c = row.c, *gates = row.gates;
  T *dh = row.dh, *dc = row.dc;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T f = gates[At::f * H + k], u = gates[At::u * H + k], o = gates[At::o * H + k];
    const T i = coupled ? 1 - f : gates[k];
    const T th = tanh(f * c[k] + i * u);
    dc[k] += dh[k] * o * (1 - th * th);
    dh[k] *= th;
  }
  lstm_gates_backward<T, coupled>(H, row, dh);
}

// With n = (c' - mean) scale,  m = weight n + bias,  h' = o tanh(m),  e = weight dm:
//   dc' += scale (e - mean(e) - n mean(e n))
template <class T, bool coupled>
void normed_lstm_backward(int64_t H, const CellRowGrads<T>& row) {
  using At = LstmPlaces<coupled>;
  const T *c = row.c, *gates = row.gates, *weight = row.norm_weight, *bias = row.norm_bias;
  T *dh = row.dh, *dc = row.dc, *normed = row.dnorm, *dm = row.dnorm + H;
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T f = gates[At::f * H + k], i = coupled ? 1 - f : gates[k];
    normed[k] = f * c[k] + i * gates[At::u * H + k];
  }
  const Moments<T> of = moments_of(H, normed);
  T mean_e = 0, mean_en = 0;
#pragma omp simd reduction(+ : mean_e, mean_en)
  for (int64_t k = 0; k < H; ++k) {
    normed[k] = (normed[k] - of.mean) * of.scale;
    const T th = tanh(weight[k] * normed[k] + bias[k]);
    dm[k] = dh[k] * gates[At::o * H + k] * (1 - th * th);
    dh[k] *= th;
    mean_e += weight[k] * dm[k];
    mean_en += weight[k] * dm[k] * normed[k];
  }
  mean_e /= static_cast<T>(H);
  mean_en /= static_cast<T>(H);
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    dc[k] += of.scale * (weight[k] * dm[k] - mean_e - normed[k] * mean_en);
    normed[k] *= dm[k];  // the weight's gradient
  }
  lstm_gates_backward<T, coupled>(H, row, dh);
}

template <class T>
T normalize(int64_t n, const T* weight, const T* bias, T* x, T* normed) {
  const Moments<T> of = moments_of(n, x);
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    normed[k] = (x[k] - of.mean) * of.scale;
    x[k] = weight[k] * normed[k] + bias[k];
  }
  return of.scale;
}

template <class T>
void normalize_backward(int64_t n, const T* weight, const T* normed, T scale, T* dy, T* dweight) {
  T mean_e = 0, mean_en = 0;
#pragma omp simd reduction(+ : mean_e, mean_en)
  for (int64_t k = 0; k < n; ++k) {
    dweight[k] = dy[k] * normed[k];
    dy[k] *= weight[k];
    mean_e += dy[k];
    mean_en += dy[k] * normed[k];
  }
  mean_e /= static_cast<T>(n);
  mean_en /= static_cast<T>(n);
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) dy[k] = scale * (dy[k] - mean_e - normed[k] * mean_en);
}

template <class T>
void mix(int64_t n, const T* shares, T share, const T* h, T* next) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const T m = shares ? shares[k] : share;
    next[k] = m * h[k] + (1 - m) * next[k];
  }
}

template <class T>
void unmix(int64_t n, const T* shares, T share, T* dh, T* passed) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const T m = shares ? shares[k] : share;
    passed[k] = m * dh[k];
    dh[k] *= 1 - m;
  }
}

template <class T>
constexpr RecurrentLoops<T> loops = {
    {{rnn_forward<T, false>, rnn_backward<T, false>},
     {rnn_forward<T, true>, rnn_backward<T, true>},
     {gru_forward<T>, gru_backward<T>},
     {lstm_forward<T, false, false>, lstm_backward<T, false>},
     {lstm_forward<T, true, false>, lstm_backward<T, true>}},
    {{lstm_forward<T, false, true>, normed_lstm_backward<T, false>},
     {lstm_forward<T, true, true>, normed_lstm_backward<T, true>}},
    normalize<T>,
    normalize_backward<T>,
    mix<T>,
    unmix<T>};

}  // namespace

extern const RecurrentTable recurrent_table;
const RecurrentTable recurrent_table = {loops<float>, loops<double>};

}  // namespace fovea::kernels::FOVEA_ISA
