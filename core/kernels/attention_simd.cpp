// The vector loops of attention by tiles, in the compilers' vector extensions as in gemm_simd.cpp.
// A strip is two vectors of queries wide, like the strips of the matrix product.
#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/attention_dropout.h>
#include <fovea/core/kernels/row_sums.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// 2^f for |f| <= 1/2: minimax polynomials for the relative error, 2.6e-9 and 1.8e-17.
inline Vec<float> exp2_fraction(Vec<float> f) {
  return 1 + f * (0.693147215f +
                  f * (0.240226528f +
                       f * (0.0555031055f +
                            f * (0.00961769297f + f * (0.00134066439f + f * 0.000155946782f)))));
}
inline Vec<double> exp2_fraction(Vec<double> f) {
  constexpr double c[] = {0.6931471805599457,    0.24022650695910098,   0.055504108664790395,
                          0.0096181291076070024, 0.0013333558153439965, 0.0001540353044157213,
                          1.5252727385193868e-5, 1.3215442675329822e-6, 1.0180647659234139e-7,
                          7.0725704128144235e-9, 4.0780719295883367e-10};
  Vec<double> y = c[10] + Vec<double>{};
#pragma GCC unroll 16
  for (int i = 9; i >= 0; --i) y = c[i] + f * y;
  return 1 + f * y;
}

// 2^y for y not much above 0; 0 if the result would be denormal, and for -inf. NaN gives NaN. The
// exponent is computed in the lowest bits of a large sum, bias included, and shifted into place.
template <class T>
inline Vec<T> exp2(Vec<T> y) {
  using Integers = typename VectorOf<Bits<T>>::type;
  constexpr T lowest = 1 - static_cast<T>(Ieee<T>::bias);
  constexpr T shift = rounding_shift<T> + static_cast<T>(Ieee<T>::bias);
  const auto too_low = y < lowest;
  const Vec<T> x = too_low ? Vec<T>{} : y;
  const Vec<T> shifted = x + shift;
  const Vec<T> f = x - (shifted - shift);
  const auto power =
      reinterpret_cast<Vec<T>>(reinterpret_cast<Integers>(shifted) << Ieee<T>::mantissa_bits);
  const Vec<T> result = exp2_fraction(f) * power;
  return too_low ? Vec<T>{} : result;
}

template <class T>
constexpr T kLog2E = static_cast<T>(1.4426950408889634074);

// ---- The softmax of a strip --------------------------------------------------------------------

template <class T>
struct Pair {
  Vec<T> at[2];
  explicit Pair(const T* p) : at{load(p), load(p + kLanes<T>)} {}
  Pair() : at{} {}
  void write(T* p) const {
    store(p, at[0]);
    store(p + kLanes<T>, at[1]);
  }
};

template <class T>
inline Vec<T> larger(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

// The largest score of each query, ignoring NaN.
template <class T>
Pair<T> tops(int64_t n, const T* scores, int64_t stride, Pair<T> top) {
  Pair<T> other = top;  // two chains, to hide the latency of max
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) {
    const Pair<T> s(scores + i * stride), next(scores + (i + 1) * stride);
    for (int v = 0; v < 2; ++v) {
      top.at[v] = larger<T>(s.at[v], top.at[v]);
      other.at[v] = larger<T>(next.at[v], other.at[v]);
    }
  }
  if (i < n) {
    const Pair<T> s(scores + i * stride);
    for (int v = 0; v < 2; ++v) top.at[v] = larger<T>(s.at[v], top.at[v]);
  }
  for (int v = 0; v < 2; ++v) top.at[v] = larger<T>(other.at[v], top.at[v]);
  return top;
}

// If no key is attended yet the shift is 0: exp(-inf + inf) would be NaN.
template <class T>
inline Vec<T> shift_of(Vec<T> top) {
  return top == -infinity<T> ? Vec<T>{} : top * kLog2E<T>;
}

template <class T, bool kDrop>
void weigh(int64_t n, const T* drop, T* scores, int64_t stride, const Pair<T>& shift,
           Pair<T>& total) {
  for (int64_t i = 0; i < n; ++i, scores += stride) {
    const Pair<T> s(scores);
    for (int v = 0; v < 2; ++v) {
      const Vec<T> p = exp2<T>(s.at[v] * kLog2E<T> - shift.at[v]);
      total.at[v] += p;
      const int64_t j = v * kLanes<T>;
      store(scores + j, kDrop ? p * load(drop + i * kWidth<T> + j) : p);
    }
  }
}

template <class T>
bool softmax(int64_t n, const T* drop, T* scores, int64_t stride, T* top, T* total, T* shrink) {
  const Pair<T> before(top);
  const Pair<T> now = tops<T>(n, scores, stride, before);
  Pair<T> shift, sum(total);
  bool grown = false;
  for (int v = 0; v < 2; ++v) {
    shift.at[v] = shift_of<T>(now.at[v]);
    const Vec<T> factor = exp2<T>(before.at[v] * kLog2E<T> - shift.at[v]);
    sum.at[v] *= factor;
    store(shrink + v * kLanes<T>, factor);
    for (int j = 0; j < kLanes<T>; ++j) grown |= now.at[v][j] > before.at[v][j];
  }
  if (drop) {
    weigh<T, true>(n, drop, scores, stride, shift, sum);
  } else {
    weigh<T, false>(n, drop, scores, stride, shift, sum);
  }
  now.write(top);
  sum.write(total);
  return grown;
}

// A query without keys: all its weights are 0.
template <class T>
inline Pair<T> shift_by(const T* lse) {
  Pair<T> shift(lse);
  for (int v = 0; v < 2; ++v)
    shift.at[v] = shift.at[v] == -infinity<T> ? infinity<T> + Vec<T>{} : shift.at[v] * kLog2E<T>;
  return shift;
}

template <class T, bool kDrop>
void gradients_of(int64_t n, const T* drop, const T* lse, const T* delta, T* scores, T* dweights,
                  int64_t stride) {
  const Pair<T> d(delta), shift = shift_by(lse);
  for (int64_t i = 0; i < n; ++i, scores += stride, dweights += stride) {
    const Pair<T> s(scores), dw(dweights);
    for (int v = 0; v < 2; ++v) {
      const int64_t j = v * kLanes<T>;
      const Vec<T> p = exp2<T>(s.at[v] * kLog2E<T> - shift.at[v]);
      Vec<T> dp = dw.at[v];
      if constexpr (kDrop) {
        const Vec<T> factor = load(drop + i * kWidth<T> + j);
        dp *= factor;
        store(scores + j, p * factor);
      } else {
        store(scores + j, p);
      }
      const Vec<T> ds = p * (dp - d.at[v]);
      store(dweights + j, p == 0 ? Vec<T>{} : ds);  // a masked key's value may be infinite
    }
  }
}

template <class T>
void gradients(int64_t n, const T* drop, const T* lse, const T* delta, T* scores, T* dweights,
               int64_t stride) {
  if (drop) {
    gradients_of<T, true>(n, drop, lse, delta, scores, dweights, stride);
  } else {
    gradients_of<T, false>(n, drop, lse, delta, scores, dweights, stride);
  }
}

template <class T>
void add_weights(int64_t n, const T* lse, const T* scores, int64_t stride, T* sum,
                 int64_t sum_stride) {
  const Pair<T> shift = shift_by(lse);
  for (int64_t i = 0; i < n; ++i, scores += stride, sum += sum_stride) {
    const Pair<T> s(scores);
    Pair<T> y(sum);
    for (int v = 0; v < 2; ++v) {
      const Vec<T> p = exp2<T>(s.at[v] * kLog2E<T> - shift.at[v]);
      y.at[v] += s.at[v] == -infinity<T> ? Vec<T>{} : p;
    }
    y.write(sum);
  }
}

// ---- Masks
// ---------------------------------------------------------------------------------------

// Bounds are compared in T's width, after clamping to the tile.
template <class T>
void keep_between(int64_t n, const int64_t* begin, const int64_t* end, T* scores, int64_t stride) {
  T first[kWidth<T>], last[kWidth<T>];
  for (int64_t j = 0; j < kWidth<T>; ++j) {
    first[j] = static_cast<T>(begin[j] < 0 ? 0 : begin[j] > n ? n : begin[j]);
    last[j] = static_cast<T>(end[j] < 0 ? 0 : end[j] > n ? n : end[j]);
  }
  const Pair<T> low(first), high(last);
  for (int64_t i = 0; i < n; ++i, scores += stride) {
    Pair<T> s(scores);
    const Vec<T> key = static_cast<T>(i) + Vec<T>{};
    for (int v = 0; v < 2; ++v) {
      s.at[v] = key < low.at[v] ? -infinity<T> + Vec<T>{} : s.at[v];
      s.at[v] = key < high.at[v] ? s.at[v] : -infinity<T> + Vec<T>{};
    }
    s.write(scores);
  }
}

// x(j, i) -> x(i, j) for 8 x 8 bytes, one word per row: swaps blocks of 4, 2 and 1.
inline void transpose_bytes(uint64_t (&x)[8]) {
  constexpr uint64_t low[] = {0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF};
#pragma GCC unroll 3
  for (int level = 2; level >= 0; --level) {
    const int step = 1 << level;
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      if (j & step) continue;
      const uint64_t swap = ((x[j] >> (8 * step)) ^ x[j + step]) & low[level];
      x[j + step] ^= swap;
      x[j] ^= swap << (8 * step);
    }
  }
}

// Eight keys at a time: a table is stored as (queries, keys), and single loads would take ten times
// as long.
template <class T>
void keep_dense_table(int64_t n, int64_t queries, const bool* table, int64_t t_stride, T* scores,
                      int64_t stride) {
  constexpr int kGroups = (kWidth<T> + 7) / 8;
  for (int64_t i = 0; i < n; i += 8) {
    const int64_t keys = n - i < 8 ? n - i : 8;
    unsigned char kept[8][8 * kGroups];
    for (int g = 0; g < kGroups; ++g) {
      uint64_t rows[8];
      for (int j = 0; j < 8; ++j) {
        rows[j] = ~uint64_t{0};
        const int64_t query = 8 * g + j;
        if (query >= queries) continue;
        const bool* row = table + query * t_stride + i;
        if (keys == 8) {
          __builtin_memcpy(&rows[j], row, 8);
        } else {
          __builtin_memcpy(&rows[j], row, static_cast<std::size_t>(keys));
        }
      }
      transpose_bytes(rows);
      for (int k = 0; k < 8; ++k) __builtin_memcpy(kept[k] + 8 * g, &rows[k], 8);
    }
    for (int64_t k = 0; k < keys; ++k, scores += stride) {
#pragma omp simd
      for (int j = 0; j < kWidth<T>; ++j) scores[j] = kept[k][j] ? scores[j] : -infinity<T>;
    }
  }
}

template <class T>
void keep_table(int64_t n, int64_t queries, const bool* table, int64_t t_stride, int64_t s_stride,
                T* scores, int64_t stride) {
  if (s_stride == 1 && t_stride != 0 && queries > 1) {
    keep_dense_table(n, queries, table, t_stride, scores, stride);
    return;
  }
  for (int64_t i = 0; i < n; ++i, table += s_stride, scores += stride)
    for (int64_t j = 0; j < queries; ++j)
      if (!table[j * t_stride]) scores[j] = -infinity<T>;
}

template <class T>
void keep_ids(int64_t n, int64_t queries, const int64_t* query, const int64_t* key, T* scores,
              int64_t stride) {
  for (int64_t i = 0; i < n; ++i, scores += stride) {
#pragma omp simd
    for (int64_t j = 0; j < queries; ++j) scores[j] = query[j] == key[i] ? scores[j] : -infinity<T>;
  }
}

// ---- Rows --------------------------------------------------------------------------------------

template <class T>
void logsumexp(int64_t n, const T* top, const T* total, T* lse) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) lse[i] = total[i] == 0 ? -infinity<T> : top[i] + log(total[i]);
}

template <class T>
void scale(int64_t n, T factor, const T* x, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = factor * x[i];
}

template <class T>
void add(int64_t n, const T* x, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

template <class T>
T dot(int64_t n, const T* a, const T* b) {
  return row_sum<T>(n, [&](int64_t i) { return a[i] * b[i]; });
}

// 0 x is NaN for an infinite x. Four independent sums.
template <class T>
bool all_finite(int64_t n, const T* x) {
  Vec<T> sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes<T> <= n; i += 4 * kLanes<T>)
    for (int v = 0; v < 4; ++v) sum[v] += T(0) * load(x + i + v * kLanes<T>);
  T total = 0;
  for (; i < n; ++i) total += T(0) * x[i];
  const Vec<T> all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int j = 0; j < kLanes<T>; ++j) total += all[j];
  return total == 0;
}

template <class T>
T softmax_row(int64_t n, T* scores, T* top) {
  const T sink = *top, largest = row_max(scores, n);
  *top = largest > sink ? largest : sink;
  const T shift = *top == -infinity<T> ? T(0) : *top;
  const T sum = row_sum<T>(n, [&](int64_t i) { return scores[i] = exp(scores[i] - shift); });
  return sum + exp(sink - shift);
}

// kVectors vectors of y at a time, two keys at a time: independent sums.
template <class V, int kVectors, class T>
inline void weighted_vectors(int64_t n, const T* weights, const T* x, int64_t x_stride, T* y) {
  constexpr int lanes = sizeof(V) / sizeof(T);
  V sum[2][kVectors] = {};
  int64_t i = 0;
  for (; i + 2 <= n; i += 2)
    for (int k = 0; k < 2; ++k)
      for (int v = 0; v < kVectors; ++v)
        sum[k][v] += weights[i + k] * load_as<V>(x + (i + k) * x_stride + v * lanes);
  if (i < n)
    for (int v = 0; v < kVectors; ++v)
      sum[0][v] += weights[i] * load_as<V>(x + i * x_stride + v * lanes);
  for (int v = 0; v < kVectors; ++v) store(y + v * lanes, sum[0][v] + sum[1][v]);
}

// A rest narrower than a vector uses half vectors: heads of width 8 are common.
template <class T, int kBytes>
inline void weighted_narrow(int64_t n, int64_t width, const T* weights, const T* x,
                            int64_t x_stride, T* y) {
  constexpr int64_t lanes = kBytes / static_cast<int64_t>(sizeof(T));
  if constexpr (lanes > 1) {
    if (width >= lanes) {
      weighted_vectors<typename VectorOf<T, kBytes>::type, 1>(n, weights, x, x_stride, y);
      x += lanes, y += lanes, width -= lanes;
    }
    weighted_narrow<T, kBytes / 2>(n, width, weights, x, x_stride, y);
  } else if (width == 1) {
    *y = 0;
    for (int64_t i = 0; i < n; ++i) *y += weights[i] * x[i * x_stride];
  }
}

template <class T>
void weighted_sum(int64_t n, int64_t width, const T* weights, const T* x, int64_t x_stride, T* y) {
  int64_t e = 0;
  for (; e + 4 * kLanes<T> <= width; e += 4 * kLanes<T>)
    weighted_vectors<Vec<T>, 4>(n, weights, x + e, x_stride, y + e);
  for (; e + kLanes<T> <= width; e += kLanes<T>)
    weighted_vectors<Vec<T>, 1>(n, weights, x + e, x_stride, y + e);
  weighted_narrow<T, kVectorBytes / 2>(n, width - e, weights, x + e, x_stride, y + e);
}

template <class T>
constexpr AttentionLoops<T> loops = {
    .width = kWidth<T>,
    .softmax = softmax<T>,
    .gradients = gradients<T>,
    .add_weights = add_weights<T>,
    .keep_between = keep_between<T>,
    .keep_table = keep_table<T>,
    .keep_ids = keep_ids<T>,
    .dropout = dropout<T>,
    .logsumexp = logsumexp<T>,
    .scale = scale<T>,
    .add = add<T>,
    .dot = dot<T>,
    .all_finite = all_finite<T>,
    .softmax_row = softmax_row<T>,
    .weighted_sum = weighted_sum<T>,
};

}  // namespace

extern const AttentionTable attention_table;
const AttentionTable attention_table = {.f32 = loops<float>, .f64 = loops<double>};

}  // namespace fovea::kernels::FOVEA_ISA
