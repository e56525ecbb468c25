#include <fovea/core/kernels/scan.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

// An element of the recurrence in registers; `apart` is the offset from its real to its imaginary
// part.
template <class T>
struct Real {
  using Part = T;
  T re;

  static Real load(const T* p, int64_t) { return {*p}; }
  static void store(T* p, int64_t, Real x) { *p = x.re; }
  static bool is_zero(Real x) { return x.re == 0; }
  static Real sum(Real x, Real y) { return {x.re + y.re}; }
  static Real product(Real x, Real y) { return {x.re * y.re}; }
  static Real conj_product(Real x, Real y) { return {x.re * y.re}; }
  static Real product_plus(Real x, Real y, Real z) { return {x.re * y.re + z.re}; }
};

template <class T>
struct Complex {
  using Part = T;
  T re, im;

  static Complex load(const T* p, int64_t apart) { return {p[0], p[apart]}; }
  static void store(T* p, int64_t apart, Complex x) {
    p[0] = x.re;
    p[apart] = x.im;
  }
  static bool is_zero(Complex x) { return (x.re == 0) & (x.im == 0); }
  static Complex sum(Complex x, Complex y) { return {x.re + y.re, x.im + y.im}; }
  static Complex product(Complex x, Complex y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
  }
  static Complex conj_product(Complex x, Complex y) {  // conj(x) y
    return {x.re * y.re + x.im * y.im, x.re * y.im - x.im * y.re};
  }
  static Complex product_plus(Complex x, Complex y, Complex z) {
    return {x.re * y.re + (z.re - x.im * y.im), x.re * y.im + (z.im + x.im * y.re)};
  }
};

template <class N, class T = typename N::Part>
void forward(const ScanStretch& s, const T* a, const T* b, const T* before, T* h) {
  const int64_t apart = s.imaginary;
  for (int64_t t = 0; t < s.steps; ++t) {
    const T *a_t = a + t * s.a_row, *b_t = b + t * s.row;
    T* h_t = h + t * s.row;
#pragma omp simd
    for (int64_t c = 0; c < s.channels; ++c)
      N::store(h_t + c, apart,
               N::product_plus(N::load(a_t + c, apart), N::load(before + c, apart),
                               N::load(b_t + c, apart)));
    before = h_t;
  }
}

template <class N, class T = typename N::Part>
void forward_ends(const ScanStretch& s, const T* a, const T* b, T* product, T* end) {
  const int64_t apart = s.imaginary;
  for (int64_t t = 0; t < s.steps; ++t) {
    const T *a_t = a + t * s.a_row, *b_t = b + t * s.row;
#pragma omp simd
    for (int64_t c = 0; c < s.channels; ++c) {
      const N x = N::load(a_t + c, apart), h = N::load(end + c, apart);
      N::store(product + c, apart, N::product(x, N::load(product + c, apart)));
      N::store(end + c, apart, N::product_plus(x, h, N::load(b_t + c, apart)));
    }
  }
}

template <class N, class T = typename N::Part>
void backward(const ScanStretch& s, int64_t dy_row, const T* a, const T* before, const T* h,
              const T* dy, T* u, T* dh, T* da) {
  const int64_t apart = s.imaginary;
  for (int64_t t = s.steps - 1; t >= 0; --t) {
    const T *a_t = a + t * s.a_row, *dy_t = dy + t * dy_row;
    const T* h_prev = t > 0 ? h + (t - 1) * s.row : before;
    T* dh_t = dh + t * s.row;
#pragma omp simd
    for (int64_t c = 0; c < s.channels; ++c) {
      const N d = N::sum(N::load(dy_t + c, apart), N::load(u + c, apart));
      N::store(dh_t + c, apart, d);
      N::store(u + c, apart, N::conj_product(N::load(a_t + c, apart), d));
    }
    if (da == nullptr) continue;
    T* da_t = da + t * s.row;
#pragma omp simd
    for (int64_t c = 0; c < s.channels; ++c)
      N::store(da_t + c, apart,
               N::conj_product(N::load(h_prev + c, apart), N::load(dh_t + c, apart)));
  }
}

template <class N, class T = typename N::Part>
void backward_ends(const ScanStretch& s, int64_t dy_row, const T* a, const T* dy, T* product,
                   T* end) {
  const int64_t apart = s.imaginary;
  for (int64_t t = s.steps - 1; t >= 0; --t) {
    const T *a_t = a + t * s.a_row, *dy_t = dy + t * dy_row;
#pragma omp simd
    for (int64_t c = 0; c < s.channels; ++c) {
      const N x = N::load(a_t + c, apart);
      const N d = N::sum(N::load(dy_t + c, apart), N::load(end + c, apart));
      N::store(product + c, apart, N::conj_product(x, N::load(product + c, apart)));
      N::store(end + c, apart, N::conj_product(x, d));
    }
  }
}

// The products of a growing recurrence overflow, and infinity times a zero state would be NaN.
template <class N, class T = typename N::Part>
void join(int64_t H, const T* product, const T* from, T* to) {
#pragma omp simd
  for (int64_t c = 0; c < H; ++c) {
    const N x = N::load(from + c, H), sum = N::load(to + c, H);
    const N joined = N::product_plus(N::load(product + c, H), x, sum);
    N::store(to + c, H, N::is_zero(x) ? sum : joined);
  }
}

template <class N>
constexpr ScanLoops<typename N::Part> loops_for = {.forward = forward<N>,
                                                   .forward_ends = forward_ends<N>,
                                                   .backward = backward<N>,
                                                   .backward_ends = backward_ends<N>,
                                                   .join = join<N>};

template <class T>
constexpr ScanKinds<T> kinds_of = {.real = loops_for<Real<T>>, .complex = loops_for<Complex<T>>};

}  // namespace

extern const ScanTable scan_table;
const ScanTable scan_table = {.f32 = kinds_of<float>, .f64 = kinds_of<double>};

}  // namespace fovea::kernels::FOVEA_ISA
