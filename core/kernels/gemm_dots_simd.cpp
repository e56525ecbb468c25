// Few rows times a matrix stored as its transpose: a layer's weights in token-by-token decoding,
// and queries against cached keys. Bound by reading B, which is used in place; lanes are summed one
// vector of dot products at a time.
#include <fovea/core/kernels/gemm_dots.h>

#include <algorithm>
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

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
using Lanes = std::make_integer_sequence<int, kLanes<T>>;

// Rows of A and of B multiplied at once: 16 sums, in registers with AVX-512.
constexpr int kRows = 4, kCols = 4;

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, kVectorBytes);
  return v;
}

template <class T>
inline void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, kVectorBytes);
}

// The n first lanes from memory, the others 0.
template <int n, class T, int... I>
inline Vec<T> load_first(const T* p, std::integer_sequence<int, I...>) {
  if constexpr (n == 1) {
    Vec<T> v{};
    v[0] = *p;
    return v;
  } else {
    typedef T Part __attribute__((vector_size(n * sizeof(T))));
    Part part;
    __builtin_memcpy(&part, p, sizeof(part));
    return __builtin_shufflevector(part, Part{}, (I < n ? I : n)...);
  }
}

// The rest of a row shorter than a vector: n elements, in half a vector, a quarter, ...
template <int n, class T, int R, int S>
inline void add_rest(int64_t rest, const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                     Vec<T> (&sum)[R][S]) {
  if constexpr (n > 0) {
    if (rest >= n) {
      Vec<T> column[S];
#pragma GCC unroll 16
      for (int s = 0; s < S; ++s) column[s] = load_first<n>(b + s * b_stride, Lanes<T>{});
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vec<T> row = load_first<n>(a + r * a_stride, Lanes<T>{});
#pragma GCC unroll 16
        for (int s = 0; s < S; ++s) sum[r][s] += row * column[s];
      }
      rest -= n;
      a += n;
      b += n;
    }
    add_rest<n / 2, T, R, S>(rest, a, a_stride, b, b_stride, sum);
  }
}

// Prefetch of the next rows: saves an eighth of the time if B comes from L3.
enum class Fetch { no, next_strip };

// The lanes of R x S dot products.
template <class T, int R, int S, Fetch kFetch>
inline void dot_block(int64_t K, const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                      Vec<T> (&sum)[R][S]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int s = 0; s < S; ++s) sum[r][s] = Vec<T>{};
  int64_t k = 0;
  for (; k + kLanes<T> <= K; k += kLanes<T>) {
    Vec<T> column[S];
#pragma GCC unroll 16
    for (int s = 0; s < S; ++s) {
      column[s] = load(b + s * b_stride + k);
      if constexpr (kFetch == Fetch::next_strip)
        __builtin_prefetch(b + (s + kLanes<T>)*b_stride + k);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec<T> row = load(a + r * a_stride + k);
#pragma GCC unroll 16
      for (int s = 0; s < S; ++s) sum[r][s] += row * column[s];
    }
  }
  if (k < K) add_rest<kLanes<T> / 2, T, R, S>(K - k, a + k, a_stride, b + k, b_stride, sum);
}

// In every group of 2 kHalf lanes: the sums of the first and second half of a's, then of b's.
template <int kHalf, class V, int... I>
inline V add_halves(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I), h = kHalf;
  const V first = __builtin_shufflevector(a, b, (I % (2 * h) < h ? I : n + I - h)...);
  const V second = __builtin_shufflevector(a, b, (I % (2 * h) < h ? I + h : n + I)...);
  return first + second;
}

// Lane s of the result: the sum of v[s]'s lanes. Each is summed by halves, independent of its
// neighbors.
template <class T, int n>
inline Vec<T> sums_of_lanes(const Vec<T> (&v)[n]) {
  if constexpr (n == 1) {
    return v[0];
  } else {
    Vec<T> sum[n / 2];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) sum[i] = add_halves<n / 2>(v[i], v[i + n / 2], Lanes<T>{});
    return sums_of_lanes<T>(sum);
  }
}

// R rows of A times a strip of B, with one row per lane of a vector.
template <class T, int R, Fetch kFetch>
void whole_strip(int64_t K, const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                 Vec<T>* out) {
  constexpr int n = kLanes<T>, S = n < kCols ? n : kCols;
  Vec<T> lanes[R][n];
#pragma GCC unroll 16
  for (int s = 0; s < n; s += S) {
    Vec<T> sum[R][S];
    dot_block<T, R, S, kFetch>(K, a, a_stride, b + s * b_stride, b_stride, sum);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int i = 0; i < S; ++i) lanes[r][s + i] = sum[r][i];
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) out[r] = sums_of_lanes<T>(lanes[r]);
}

// The last strip, of fewer rows of B.
template <class T, int R>
void part_of_strip(int64_t cols, int64_t K, const T* a, int64_t a_stride, const T* b,
                   int64_t b_stride, Vec<T>* out) {
  constexpr int S = kLanes<T> < kCols ? kLanes<T> : kCols;
  Vec<T> lanes[R][kLanes<T>] = {};
  int64_t s = 0;
  for (; s + S <= cols; s += S) {
    Vec<T> sum[R][S];
    dot_block<T, R, S, Fetch::no>(K, a, a_stride, b + s * b_stride, b_stride, sum);
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < S; ++i) lanes[r][s + i] = sum[r][i];
  }
  for (; s < cols; ++s) {
    Vec<T> sum[R][1];
    dot_block<T, R, 1, Fetch::no>(K, a, a_stride, b + s * b_stride, b_stride, sum);
    for (int r = 0; r < R; ++r) lanes[r][s] = sum[r][0];
  }
  for (int r = 0; r < R; ++r) out[r] = sums_of_lanes<T>(lanes[r]);
}

template <class T>
using WholeStrip = void (*)(int64_t, const T*, int64_t, const T*, int64_t, Vec<T>*);
template <class T>
using PartOfStrip = void (*)(int64_t, int64_t, const T*, int64_t, const T*, int64_t, Vec<T>*);

template <class T, Fetch kFetch>
constexpr WholeStrip<T> kWholeStrips[kRows] = {whole_strip<T, 1, kFetch>, whole_strip<T, 2, kFetch>,
                                               whole_strip<T, 3, kFetch>,
                                               whole_strip<T, 4, kFetch>};
template <class T>
constexpr PartOfStrip<T> kPartsOfStrip[kRows] = {part_of_strip<T, 1>, part_of_strip<T, 2>,
                                                 part_of_strip<T, 3>, part_of_strip<T, 4>};

template <class T>
struct Output {
  T alpha, beta;
  const T* bias;
  T* c;

  Output at(int64_t i, int64_t j, int64_t c_stride) const {
    return {alpha, beta, bias ? bias + j : nullptr, c + i * c_stride + j};
  }
  void write(Vec<T> sum) const {
    Vec<T> y = alpha * sum;
    if (beta != 0) y += beta * load(c);
    if (bias) y += load(bias);
    store(c, y);
  }
  // Uses write(): scalar code might round a product and its sum separately, unlike vector code.
  void write_first(int64_t n, Vec<T> sum) const {
    T lanes[kLanes<T>] = {}, added[kLanes<T>] = {};
    for (int64_t j = 0; beta != 0 && j < n; ++j) lanes[j] = c[j];
    for (int64_t j = 0; bias && j < n; ++j) added[j] = bias[j];
    Output{alpha, beta, bias ? added : nullptr, lanes}.write(sum);
    for (int64_t j = 0; j < n; ++j) c[j] = lanes[j];
  }
};

template <class T>
void multiply(int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t a_stride, const T* b,
              int64_t b_stride, T beta, const T* bias, T* c, int64_t c_stride) {
  const Output<T> all{alpha, beta, bias, c};
  for (int64_t j = 0; j < N; j += kLanes<T>, b += kLanes<T> * b_stride) {
    const int64_t cols = std::min<int64_t>(kLanes<T>, N - j);
    for (int64_t i = 0; i < M; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, M - i);
      Vec<T> sums[kRows];
      if (cols < kLanes<T>) {
        kPartsOfStrip<T>[rows - 1](cols, K, a + i * a_stride, a_stride, b, b_stride, sums);
      } else {
        const auto& strips =
            i == 0 ? kWholeStrips<T, Fetch::next_strip> : kWholeStrips<T, Fetch::no>;
        strips[rows - 1](K, a + i * a_stride, a_stride, b, b_stride, sums);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const Output<T> out = all.at(i + r, j, c_stride);
        cols == kLanes<T> ? out.write(sums[r]) : out.write_first(cols, sums[r]);
      }
    }
  }
}

}  // namespace

void dots(int64_t M, int64_t N, int64_t K, float alpha, const float* a, int64_t a_stride,
          const float* b, int64_t b_stride, float beta, const float* bias, float* c,
          int64_t c_stride) {
  multiply(M, N, K, alpha, a, a_stride, b, b_stride, beta, bias, c, c_stride);
}
void dots(int64_t M, int64_t N, int64_t K, double alpha, const double* a, int64_t a_stride,
          const double* b, int64_t b_stride, double beta, const double* bias, double* c,
          int64_t c_stride) {
  multiply(M, N, K, alpha, a, a_stride, b, b_stride, beta, bias, c, c_stride);
}

}  // namespace fovea::kernels::FOVEA_ISA
