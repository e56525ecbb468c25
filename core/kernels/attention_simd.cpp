// The vector loops of attention by tiles, in the compilers' vector extensions as in gemm_simd.cpp.
// A strip is two vectors of queries wide, like the strips of the matrix product.
#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/row_sums.h>

#include <immintrin.h>
#include <utility>

namespace fovea::kernels::FOVEA_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T, int kBytes = kVectorBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kWidth = 2 * kLanes<T>;

template <class V, class T>
inline V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class T>
inline Vec<T> load(const T* p) {
  return load<Vec<T>, T>(p);
}
template <class V, class T>
inline void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

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

// 2^y for y that is not much above 0; 0 where the result would not be a normal number, and for
// -inf. NaN gives NaN. The power of two is made in the lowest bits of a large sum: with the bias
// of the exponent in it, a shift moves them to their place.
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

// The largest score of each query, NaN passed over.
template <class T>
Pair<T> tops(int64_t n, const T* scores, int64_t stride, Pair<T> top) {
  Pair<T> other = top;  // two chains, since a maximum waits for the one before it
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

// Where nothing was kept yet the shift is 0: exp(-inf) is 0, and exp(-inf + inf) would be NaN.
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

template <class T, bool kDrop>
void gradients_of(int64_t n, const T* drop, const T* lse, const T* delta, T* scores, T* dweights,
                  int64_t stride) {
  const Pair<T> d(delta);
  Pair<T> shift(lse);
  for (int v = 0; v < 2; ++v)  // a query without keys: all its weights are 0
    shift.at[v] = shift.at[v] == -infinity<T> ? infinity<T> + Vec<T>{} : shift.at[v] * kLog2E<T>;
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
      store(dweights + j, p == 0 ? Vec<T>{} : ds);  // a dropped key's value may be infinite
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

// ---- What is kept ------------------------------------------------------------------------------

// Borders are compared in T's width; those beyond the tile are pulled in first.
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

template <class T>
void keep_table(int64_t n, int64_t queries, const bool* table, int64_t t_stride, int64_t s_stride,
                T* scores, int64_t stride) {
  for (int64_t i = 0; i < n; ++i, table += s_stride, scores += stride)
    for (int64_t j = 0; j < queries; ++j)
      scores[j] = table[j * t_stride] ? scores[j] : -infinity<T>;
}

template <class T>
void keep_ids(int64_t n, int64_t queries, const int64_t* query, const int64_t* key, T* scores,
              int64_t stride) {
  for (int64_t i = 0; i < n; ++i, scores += stride) {
#pragma omp simd
    for (int64_t j = 0; j < queries; ++j) scores[j] = query[j] == key[i] ? scores[j] : -infinity<T>;
  }
}

// ---- Dropout -----------------------------------------------------------------------------------

// Philox blocks for a strip's queries side by side, a lane of 64 bits each, since products need
// them. What stands in a lane's upper half does not matter: products read lower halves.
template <class T>
constexpr int kBlocks = kWidth<T> / 4;
template <class T>
using Blocks = typename VectorOf<uint64_t, 8 * kBlocks<T>>::type;

// GCC 12 makes a full 64-bit product of `(a & low) * b`. With this one, and with four keys at once
// that do not wait for each other, a strip's words take 6.5 ns instead of 14.
template <class B>
inline B low_product(B a, B b) {
  if constexpr (sizeof(B) == 16)
    return reinterpret_cast<B>(
        _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#if defined(__AVX2__)
  if constexpr (sizeof(B) == 32)
    return reinterpret_cast<B>(
        _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
#if defined(__AVX512F__)
  if constexpr (sizeof(B) == 64)
    return reinterpret_cast<B>(
        _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#endif
  return (a & 0xFFFFFFFF) * b;
}

struct RoundKeys {
  uint64_t first[10], second[10];
  explicit RoundKeys(uint64_t seed) {
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
      first[round] = key0;
      second[round] = key1;
    }
  }
};

// The words of the blocks in the order of the queries, from words 0 and 1, and 2 and 3, of each
// block: two halves of a strip.
template <int kHigh, class B, int... I>
inline B interleaved(B a, B b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (kHigh * n / 2 + I / 2 + (I % 2) * n)...);
}
template <class B>
inline void store_words(B a, B b, uint32_t* words) {
  constexpr int n = sizeof(B) / 8;
  if constexpr (n == 1) {
    store(words, a);
    store(words + 2, b);
  } else {
    using Lanes = std::make_integer_sequence<int, n>;
    store(words, interleaved<0>(a, b, Lanes{}));
    store(words + 2 * n, interleaved<1>(a, b, Lanes{}));
  }
}

// The words of a strip for kKeys keys, whose blocks are `step` apart.
template <class T, int kKeys>
inline void philox_strips(const RoundKeys& keys, uint64_t stream, uint64_t block, uint64_t step,
                          uint32_t* words) {
  using B = Blocks<T>;
  constexpr uint64_t low = 0xFFFFFFFF;
  const B factor0 = 0xD2511F53 + B{}, factor1 = 0xCD9E8D57 + B{};
  B lane;
  for (int b = 0; b < kBlocks<T>; ++b) lane[b] = static_cast<uint64_t>(b);
  B c0[kKeys], c1[kKeys], c2[kKeys], c3[kKeys];
#pragma GCC unroll 4
  for (int k = 0; k < kKeys; ++k) {
    c0[k] = block + static_cast<uint64_t>(k) * step + lane;
    c1[k] = c0[k] >> 32;
    c2[k] = stream + B{};
    c3[k] = (stream >> 32) + B{};
  }
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (int k = 0; k < kKeys; ++k) {
      const B product0 = low_product(c0[k], factor0), product1 = low_product(c2[k], factor1);
      c0[k] = (product1 >> 32) ^ c1[k] ^ keys.first[round];
      c1[k] = product1;
      c2[k] = (product0 >> 32) ^ c3[k] ^ keys.second[round];
      c3[k] = product0;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kKeys; ++k)
    store_words<B>((c0[k] & low) | (c1[k] << 32), (c2[k] & low) | (c3[k] << 32),
                   words + k * kWidth<T>);
}

template <class T, int kKeys>
inline void drop_keys(const RoundKeys& keys, uint64_t stream, uint64_t block, uint64_t step,
                      int32_t threshold, T kept, T* drop) {
  alignas(64) uint32_t words[kKeys * kWidth<T>];
  philox_strips<T, kKeys>(keys, stream, block, step, words);
#pragma omp simd
  for (int j = 0; j < kKeys * kWidth<T>; ++j)
    drop[j] = static_cast<int32_t>(words[j] >> 8) < threshold ? 0 : kept;
}

template <class T>
void dropout(int64_t n, const PhiloxOrigin& origin, uint64_t block, uint64_t blocks_per_key,
             int32_t threshold, T kept, T* drop) {
  const RoundKeys keys(origin.seed);
  const uint64_t stream = origin.stream;
  block += origin.block;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4, block += 4 * blocks_per_key)
    drop_keys<T, 4>(keys, stream, block, blocks_per_key, threshold, kept, drop + i * kWidth<T>);
  for (; i < n; ++i, block += blocks_per_key)
    drop_keys<T, 1>(keys, stream, block, blocks_per_key, threshold, kept, drop + i * kWidth<T>);
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

template <class T>
T softmax_row(int64_t n, T* scores, T* top) {
  const T sink = *top, largest = row_max(scores, n);
  *top = largest > sink ? largest : sink;
  const T shift = *top == -infinity<T> ? T(0) : *top;
  const T sum = row_sum<T>(n, [&](int64_t i) { return scores[i] = exp(scores[i] - shift); });
  return sum + exp(sink - shift);
}

// kVectors vectors of y at a time, two keys at a time: sums that do not wait for each other.
template <class T, int kVectors>
inline void weighted_vectors(int64_t n, const T* weights, const T* x, int64_t x_stride, T* y) {
  Vec<T> sum[2][kVectors] = {};
  int64_t i = 0;
  for (; i + 2 <= n; i += 2)
    for (int k = 0; k < 2; ++k)
      for (int v = 0; v < kVectors; ++v)
        sum[k][v] += weights[i + k] * load(x + (i + k) * x_stride + v * kLanes<T>);
  if (i < n)
    for (int v = 0; v < kVectors; ++v)
      sum[0][v] += weights[i] * load(x + i * x_stride + v * kLanes<T>);
  for (int v = 0; v < kVectors; ++v) store(y + v * kLanes<T>, sum[0][v] + sum[1][v]);
}

template <class T>
void weighted_sum(int64_t n, int64_t width, const T* weights, const T* x, int64_t x_stride, T* y) {
  int64_t e = 0;
  for (; e + 4 * kLanes<T> <= width; e += 4 * kLanes<T>)
    weighted_vectors<T, 4>(n, weights, x + e, x_stride, y + e);
  for (; e + kLanes<T> <= width; e += kLanes<T>)
    weighted_vectors<T, 1>(n, weights, x + e, x_stride, y + e);
  if (e == width) return;
  for (int64_t j = e; j < width; ++j) y[j] = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = e; j < width; ++j) y[j] += weights[i] * x[i * x_stride + j];
}

template <class T>
constexpr AttentionLoops<T> loops = {
    .width = kWidth<T>,
    .softmax = softmax<T>,
    .gradients = gradients<T>,
    .keep_between = keep_between<T>,
    .keep_table = keep_table<T>,
    .keep_ids = keep_ids<T>,
    .dropout = dropout<T>,
    .logsumexp = logsumexp<T>,
    .scale = scale<T>,
    .add = add<T>,
    .dot = dot<T>,
    .softmax_row = softmax_row<T>,
    .weighted_sum = weighted_sum<T>,
};

}  // namespace

extern const AttentionTable attention_table;
const AttentionTable attention_table = {.f32 = loops<float>, .f64 = loops<double>};

}  // namespace fovea::kernels::FOVEA_ISA
