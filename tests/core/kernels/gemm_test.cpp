// Every path of the matrix product against a sum in higher precision, with the bound of a sum of K
// products in any order: |error| <= (K + 3) eps (|alpha| sum |a||b| + |beta c| + |bias|). All
// padding is NaN, which detects reads and writes.
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

constexpr Isa kIsas[] = {Isa::baseline, Isa::v3, Isa::v4};
constexpr Trans kTrans[] = {Trans::no, Trans::yes};
constexpr int64_t kPad = 5;

template <class T>
constexpr T kNan = std::numeric_limits<T>::quiet_NaN();

template <class T>
std::vector<T> uniform(int64_t n, unsigned seed) {
  std::mt19937 bits(seed);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& v : x) v = static_cast<T>(bits()) / static_cast<T>(1u << 31) - 1;
  return x;
}

// A matrix stored with a row stride, as itself or as its transpose, NaN between the rows.
template <class T>
struct Stored {
  int64_t stride;
  std::vector<T> data;

  Stored(const std::vector<T>& x, int64_t rows, int64_t cols, Trans trans, int64_t pad = kPad)
      : stride((trans == Trans::yes ? rows : cols) + pad),
        data(static_cast<std::size_t>((trans == Trans::yes ? cols : rows) * stride), kNan<T>) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        data[static_cast<std::size_t>(trans == Trans::yes ? j * stride + i : i * stride + j)] =
            x[static_cast<std::size_t>(i * cols + j)];
  }
};

// C = alpha A B + beta C + bias with dense A, B and C0, the exact result and its error bound.
template <class T>
struct Problem {
  int64_t M, N, K;
  T alpha, beta;
  std::vector<T> a = uniform<T>(M * K, 1), b = uniform<T>(K * N, 2), c0 = uniform<T>(M * N, 3);
  std::vector<T> bias = uniform<T>(N, 4);
  std::vector<long double> want = {}, bound = {};

  void solve() {
    for (int64_t i = 0; i < M; ++i) {
      for (int64_t j = 0; j < N; ++j) {
        long double sum = 0, mass = 0;
        for (int64_t k = 0; k < K; ++k) {
          const long double term =
              static_cast<long double>(a[static_cast<std::size_t>(i * K + k)]) *
              b[static_cast<std::size_t>(k * N + j)];
          sum += term;
          mass += std::abs(term);
        }
        const auto kept = static_cast<long double>(beta) * c0[static_cast<std::size_t>(i * N + j)];
        const long double shift = bias[static_cast<std::size_t>(j)];
        want.push_back(alpha * sum + kept + shift);
        bound.push_back(static_cast<long double>(K + 3) * std::numeric_limits<T>::epsilon() *
                        (std::abs(alpha) * mass + std::abs(kept) + std::abs(shift)));
      }
    }
  }

  // C before the product: NaN if it must not be read.
  Stored<T> target() const {
    return {beta == 0 ? std::vector<T>(c0.size(), kNan<T>) : c0, M, N, Trans::no};
  }

  bool solved_by(const Stored<T>& c) const {
    for (int64_t i = 0; i < M; ++i) {
      for (int64_t j = 0; j < c.stride; ++j) {
        const T got = c.data[static_cast<std::size_t>(i * c.stride + j)];
        if (j >= N) {
          if (!std::isnan(got)) return false;
        } else {
          const auto at = static_cast<std::size_t>(i * N + j);
          if (!(std::abs(got - want[at]) <= bound[at])) return false;
        }
      }
    }
    return true;
  }
};

template <class T>
void check_all_ways(const Problem<T>& p, Trans ta, Trans tb, int64_t a_pad = kPad) {
  const Stored<T> a(p.a, p.M, p.K, ta, a_pad), b(p.b, p.K, p.N, tb);
  const auto check = [&](const char* way, auto compute) {
    Stored<T> c = p.target();
    compute(c);
    INFO(way, " ", name_of(active_isa()), " M=", p.M, " N=", p.N, " K=", p.K,
         " ta=", ta == Trans::yes, " tb=", tb == Trans::yes, " alpha=", p.alpha, " beta=", p.beta);
    CHECK(p.solved_by(c));
  };
  const auto direct = [&](auto routine) {
    return [&, routine](Stored<T>& c) {
      routine(ta, tb, p.M, p.N, p.K, p.alpha, a.data.data(), a.stride, b.data.data(), b.stride,
              p.beta, c.data.data(), c.stride, p.bias.data());
    };
  };
  check("gemm", direct(gemm<T>));
  check("gemm_serial", direct(gemm_serial<T>));
  check("gemm_naive", direct(gemm_naive<T>));
  if (ta == Trans::yes) return;
  PackedB<T> packed;
  packed.pack(tb, p.K, p.N, b.data.data(), b.stride);
  const auto from_packed = [&](auto routine) {
    return [&, routine](Stored<T>& c) {
      routine(p.M, p.alpha, a.data.data(), a.stride, packed, p.beta, c.data.data(), c.stride,
              p.bias.data());
    };
  };
  check("gemm_packed", from_packed(gemm_packed<T>));
  check("gemm_packed_serial", from_packed(gemm_packed_serial<T>));
}

template <class T>
void check_every_isa(int64_t M, int64_t N, int64_t K, T alpha, T beta, int64_t a_pad = kPad) {
  Problem<T> p{.M = M, .N = N, .K = K, .alpha = alpha, .beta = beta};
  p.solve();
  for (const Isa isa : kIsas) {
    if (set_isa(isa) != isa) continue;
    for (const Trans ta : kTrans)
      for (const Trans tb : kTrans) check_all_ways(p, ta, tb, a_pad);
  }
  set_isa(detected_isa());
}

struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

}  // namespace

TEST_CASE_TEMPLATE("gemm: sizes around the tiles", T, float, double) {
  for (const int64_t M : {1, 4, 9, 15, 29})
    for (const int64_t N : {1, 3, 16, 33, 70})
      for (const int64_t K : {1, 5, 17, 64, 130}) check_every_isa<T>(M, N, K, 1, 0);
}

TEST_CASE_TEMPLATE("gemm: alpha and beta", T, float, double) {
  for (const T alpha : {T(1), T(-0.5)})
    for (const T beta : {T(0), T(1), T(0.25)})
      for (const int64_t M : {1, 3, 30})
        for (const int64_t N : {1, 2, 50}) check_every_isa<T>(M, N, 40, alpha, beta);
}

TEST_CASE("gemm: sizes past every block limit") {
  check_every_isa<float>(130, 150, 90, 1, 0);     // several tasks
  check_every_isa<float>(20, 100, 1000, 1, 0.5);  // several parts of K
  check_every_isa<float>(17, 290, 4200, 1, 1);    // B packed in parts of rows and columns
  check_every_isa<double>(20, 500, 2200, 1, 1);
}

TEST_CASE("gemm: rows of A a multiple of a page apart") {
  check_every_isa<float>(30, 200, 600, 1, 0, 1024 - 600);
  check_every_isa<double>(30, 200, 300, 1, 0, 512 - 300);
}

TEST_CASE_TEMPLATE("gemm: empty products", T, float, double) {
  const std::vector<T> nan(64, kNan<T>);
  const auto times_beta = [&](int64_t K, T alpha, T beta, const T* bias) {
    std::vector<T> c = {2, 4};
    gemm<T>(Trans::no, Trans::no, 1, 2, K, alpha, nan.data(), 8, nan.data(), 8, beta, c.data(), 2,
            bias);
    return c;
  };
  const T bias[] = {10, 20};
  CHECK(times_beta(0, 1, T(0.5), nullptr) == std::vector<T>{1, 2});
  CHECK(times_beta(0, 1, 0, nullptr) == std::vector<T>{0, 0});
  CHECK(times_beta(0, 1, 1, bias) == std::vector<T>{12, 24});
  CHECK(times_beta(4, 0, 1, nullptr) == std::vector<T>{2, 4});

  std::vector<T> c = {7};
  for (const Trans tb : kTrans) {
    gemm<T>(Trans::no, tb, 0, 3, 4, 1, nullptr, 4, nan.data(), 4, 0, c.data(), 3);
    gemm<T>(Trans::no, tb, 3, 0, 4, 1, nan.data(), 4, nullptr, 4, 0, c.data(), 1);
    PackedB<T> empty;
    empty.pack(tb, 0, 1, nullptr, 1);
    gemm_packed<T>(1, 1, nullptr, 1, empty, 1, c.data(), 1);
    empty.pack(tb, 4, 0, nullptr, 4);
    gemm_packed<T>(3, 1, nan.data(), 4, empty, 0, c.data(), 1);
  }
  CHECK(c == std::vector<T>{7});
}

TEST_CASE("gemm: an infinity stays in its row and column") {
  std::vector<float> a(20 * 40, 1.0f), b(40 * 50, 1.0f), c(20 * 50);
  a[3 * 40 + 7] = std::numeric_limits<float>::infinity();
  gemm<float>(Trans::no, Trans::no, 20, 50, 40, 1, a.data(), 40, b.data(), 50, 0, c.data(), 50);
  for (std::size_t i = 0; i < c.size(); ++i) CHECK(c[i] == (i / 50 == 3 ? a[3 * 40 + 7] : 40.0f));
}

TEST_CASE_TEMPLATE("gemm: bitwise equal for any number of threads", T, float, double) {
  struct Size {
    int64_t M, N, K;
  };
  for (const Size size : {Size{300, 200, 150},
                          {1, 2000, 300},
                          {4, 3000, 200},
                          {1000, 1, 500},
                          {70, 70, 1500},
                          {12, 900, 900}}) {
    const auto a = uniform<T>(size.M * size.K, 1), b = uniform<T>(size.K * size.N, 2);
    for (const Trans ta : kTrans) {
      for (const Trans tb : kTrans) {
        const auto product = [&](int threads) {
          const Threads guard(threads);
          std::vector<T> c(static_cast<std::size_t>(size.M * size.N));
          gemm<T>(ta, tb, size.M, size.N, size.K, 1, a.data(), ta == Trans::yes ? size.M : size.K,
                  b.data(), tb == Trans::yes ? size.K : size.N, 0, c.data(), size.N);
          return c;
        };
        const std::vector<T> one = product(1);
        for (const int threads : {2, 3, 4, 8}) {
          const std::vector<T> many = product(threads);
          CHECK(std::memcmp(one.data(), many.data(), one.size() * sizeof(T)) == 0);
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("batched_gemm: equals single products", T, float, double) {
  struct Size {
    int64_t batch, M, N, K;
  };
  for (const Size s : {Size{0, 3, 4, 5}, {7, 3, 4, 5}, {40, 28, 28, 64}, {3, 150, 140, 130}}) {
    const auto a = uniform<T>(s.batch * s.M * s.K, 1), b = uniform<T>(s.K * s.N, 2);
    std::vector<T> want(static_cast<std::size_t>(s.batch * s.M * s.N)), strided = want,
                                                                        listed = want;
    std::vector<const T*> a_list, b_list;
    std::vector<T*> c_list;
    for (int64_t i = 0; i < s.batch; ++i) {
      a_list.push_back(a.data() + i * s.M * s.K);
      b_list.push_back(b.data());
      c_list.push_back(listed.data() + i * s.M * s.N);
      gemm_serial<T>(Trans::no, Trans::yes, s.M, s.N, s.K, 2, a_list.back(), s.K, b.data(), s.K, 0,
                     want.data() + i * s.M * s.N, s.N);
    }
    batched_gemm<T>(s.batch, Trans::no, Trans::yes, s.M, s.N, s.K, 2, a.data(), s.K, s.M * s.K,
                    b.data(), s.K, 0, 0, strided.data(), s.N, s.M * s.N);
    batched_gemm<T>(s.batch, Trans::no, Trans::yes, s.M, s.N, s.K, 2, a_list.data(), s.K,
                    b_list.data(), s.K, 0, c_list.data(), s.N);
    CHECK(strided == want);
    CHECK(listed == want);
  }
}

TEST_CASE_TEMPLATE("gemm_blas: the same product, from several threads at once", T, float, double) {
  const auto a = uniform<T>(40 * 30, 1), b = uniform<T>(30 * 20, 2);
  std::vector<T> want(40 * 20, 1);
  gemm_blas<T>(Trans::no, Trans::no, 40, 20, 30, 2, a.data(), 30, b.data(), 20, T(0.5), want.data(),
               20);
  Problem<T> p{.M = 40, .N = 20, .K = 30, .alpha = 2, .beta = T(0.5), .a = a, .b = b};
  p.c0.assign(40 * 20, 1);
  p.bias.assign(20, 0);
  p.solve();
  CHECK(p.solved_by(Stored<T>(want, 40, 20, Trans::no)));
  std::vector<int> equal(16);
  parallel_for(16, 1, [&](int64_t i, int64_t) {
    std::vector<T> c(40 * 20, 1);
    gemm_blas<T>(Trans::no, Trans::no, 40, 20, 30, 2, a.data(), 30, b.data(), 20, T(0.5), c.data(),
                 20);
    equal[static_cast<std::size_t>(i)] = c == want;
  });
  CHECK(equal == std::vector<int>(16, 1));
}
