// The elementwise kernels against scalar references, over sizes around the vector width and over
// strided, broadcast and collapsed operands.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/map.h>
#include <fovea/core/kernels/parallel.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

using Wide = long double;

const Isa isas[] = {Isa::baseline, Isa::v3, Isa::v4};

// Runs `check` on every instruction set that this processor supports.
template <class F>
void on_every_isa(F check) {
  for (const Isa isa : isas) {
    if (set_isa(isa) != isa) continue;
    CAPTURE(name_of(isa));
    check();
  }
  set_isa(detected_isa());
}

constexpr UnaryArgs args{.a = 0.25, .b = 0.75};

Wide normal_cdf(Wide x) { return (1 + std::erf(x / std::sqrt(Wide{2}))) / 2; }
Wide sigmoid(Wide x) { return 1 / (1 + std::exp(-x)); }

struct UnaryOracle {
  Unary f;
  Wide (*exact)(Wide);
  bool keeps_output;
};

const UnaryOracle unary_oracles[] = {
    {Unary::exp, [](Wide x) { return std::exp(x); }, true},
    {Unary::log, [](Wide x) { return std::log(x); }, false},
    {Unary::sqrt, [](Wide x) { return std::sqrt(x); }, true},
    {Unary::rsqrt, [](Wide x) { return 1 / std::sqrt(x); }, true},
    {Unary::square, [](Wide x) { return x * x; }, false},
    {Unary::tanh, [](Wide x) { return std::tanh(x); }, true},
    {Unary::sigmoid, sigmoid, true},
    {Unary::erf, [](Wide x) { return std::erf(x); }, false},
    {Unary::relu, [](Wide x) { return x > 0 ? x : 0; }, true},
    {Unary::leaky_relu, [](Wide x) { return x > 0 ? x : Wide{args.a} * x; }, false},
    {Unary::gelu, [](Wide x) { return x * normal_cdf(x); }, false},
    {Unary::gelu_tanh,
     [](Wide x) {
       return x / 2 *
              (1 + std::tanh(std::sqrt(2 / std::acos(Wide{-1})) * (x + 0.044715L * x * x * x)));
     },
     false},
    {Unary::silu, [](Wide x) { return x * sigmoid(x); }, false},
    {Unary::softplus, [](Wide x) { return std::log1p(std::exp(x)); }, false},
    {Unary::abs, [](Wide x) { return std::fabs(x); }, false},
    {Unary::clamp, [](Wide x) { return std::fmin(std::fmax(x, Wide{args.a}), Wide{args.b}); },
     false},
};

bool is_positive_only(Unary f) { return f == Unary::log || f == Unary::sqrt || f == Unary::rsqrt; }

template <class T>
std::vector<T> uniform(int64_t n, double low, double high, unsigned seed) {
  std::mt19937 bits(seed);
  std::uniform_real_distribution<double> between(low, high);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& v : x) v = static_cast<T>(between(bits));
  return x;
}

template <class T>
T at(Unary f, T x) {
  T y = 0;
  unary<T>(f, &x, &y, 1, args);
  return y;
}

template <class T>
T gradient_at(Unary f, T dy, T kept) {
  T dx = 0;
  unary_gradient<T>(f, &dy, &kept, &dx, 1, args);
  return dx;
}

template <class T>
T at(Binary f, T a, T b) {
  T y = 0;
  binary<T>(f, Loop<2>::flat(1, {1, 1}), &a, &b, &y);
  return y;
}

template <class T>
T gradient_at(BinaryGradient f, T dy, T a, T b) {
  T d = 0;
  binary_gradient<T>(f, Loop<3>::flat(1, {1, 1, 1}), &dy, &a, &b, &d);
  return d;
}

const int64_t sizes[] = {0, 1, 3, 7, 8, 15, 16, 17, 33, 64, 100, 257};

}  // namespace

TEST_CASE_TEMPLATE("unary functions and their gradients equal the C library's", T, float, double) {
  CHECK(std::size(unary_oracles) == unary_count);
  const T eps = std::numeric_limits<T>::epsilon(), canary = -77;
  on_every_isa([&] {
    for (const UnaryOracle& oracle : unary_oracles) {
      CAPTURE(static_cast<int>(oracle.f));
      for (const int64_t n : sizes) {
        const auto count = static_cast<std::size_t>(n);
        const auto x = uniform<T>(n, is_positive_only(oracle.f) ? 0.01 : -4, 4, 1);
        const auto dy = uniform<T>(n, -1, 1, 2);
        std::vector<T> y(count + 1, canary), dx(count + 1, canary);
        unary<T>(oracle.f, x.data(), y.data(), n, args);
        const T* kept = oracle.keeps_output ? y.data() : x.data();
        unary_gradient<T>(oracle.f, dy.data(), kept, dx.data(), n, args);
        CHECK(y[count] == canary);
        CHECK(dx[count] == canary);
        for (std::size_t i = 0; i < count; ++i) {
          const Wide want = oracle.exact(x[i]), h = 1e-6L;
          const Wide slope = (oracle.exact(x[i] + h) - oracle.exact(x[i] - h)) / (2 * h);
          CHECK(y[i] == doctest::Approx(double(want)).epsilon(8 * eps));
          CHECK(dx[i] == doctest::Approx(double(dy[i] * slope)).epsilon(16 * eps + 1e-9));
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("kinks, bounds and NaN of the unary functions", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  on_every_isa([&] {
    for (const UnaryOracle& oracle : unary_oracles) {
      CAPTURE(static_cast<int>(oracle.f));
      CHECK(std::isnan(at<T>(oracle.f, nan)));
    }
    CHECK(gradient_at<T>(Unary::relu, 3, 0) == 0);
    CHECK(gradient_at<T>(Unary::relu, 3, nan) == 3);
    CHECK(gradient_at<T>(Unary::leaky_relu, 4, 0) == 1);
    CHECK(gradient_at<T>(Unary::abs, 3, 0) == 0);
    CHECK(gradient_at<T>(Unary::clamp, 3, T(0.25)) == 3);
    CHECK(gradient_at<T>(Unary::clamp, 3, T(0.75)) == 3);
    CHECK(gradient_at<T>(Unary::clamp, 3, T(0.8)) == 0);
    CHECK(gradient_at<T>(Unary::clamp, 3, nan) == 0);
  });
}

TEST_CASE_TEMPLATE("binary functions", T, float, double, int64_t) {
  on_every_isa([&] {
    CHECK(at<T>(Binary::add, 7, 3) == 10);
    CHECK(at<T>(Binary::sub, 7, 3) == 4);
    CHECK(at<T>(Binary::mul, 7, 3) == 21);
    CHECK(at<T>(Binary::maximum, -2, 5) == 5);
    CHECK(at<T>(Binary::maximum, 5, -2) == 5);
    CHECK(at<T>(Binary::minimum, -2, 5) == -2);
    CHECK(at<T>(Binary::minimum, 5, -2) == -2);
  });
}

TEST_CASE_TEMPLATE("binary functions of real numbers, their gradients and NaN", T, float, double) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  on_every_isa([&] {
    CHECK(at<T>(Binary::div, 7, 2) == T(3.5));
    CHECK(at<T>(Binary::pow, 3, 4) == 81);
    for (const Binary f : {Binary::maximum, Binary::minimum}) {
      CHECK(std::isnan(at<T>(f, nan, 1)));
      CHECK(std::isnan(at<T>(f, 1, nan)));
    }
    CHECK(gradient_at<T>(BinaryGradient::div_b, 2, 3, 4) == T(-0.375));
    CHECK(gradient_at<T>(BinaryGradient::pow_a, 2, 3, 4) == 216);
    CHECK(gradient_at<T>(BinaryGradient::pow_a, 2, 0, 0) == 0);
    CHECK(gradient_at<T>(BinaryGradient::pow_b, 2, 3, 2) ==
          doctest::Approx(18 * std::log(3.0)).epsilon(1e-6));
    CHECK(gradient_at<T>(BinaryGradient::pow_b, 2, 0, 2) == 0);
    CHECK(gradient_at<T>(BinaryGradient::maximum_a, 2, 3, 1) == 2);
    CHECK(gradient_at<T>(BinaryGradient::maximum_a, 2, 1, 3) == 0);
    CHECK(gradient_at<T>(BinaryGradient::maximum_a, 2, 3, 3) == 1);
    CHECK(gradient_at<T>(BinaryGradient::minimum_a, 2, 3, 1) == 0);
    CHECK(gradient_at<T>(BinaryGradient::minimum_a, 2, 1, 3) == 2);
    CHECK(gradient_at<T>(BinaryGradient::minimum_a, 2, 3, 3) == 1);
  });
}

TEST_CASE_TEMPLATE("comparisons and selection", T, float, double, int64_t, bool) {
  const int64_t n = 100;
  const auto count = static_cast<std::size_t>(n);
  auto a = std::make_unique<T[]>(count), b = std::make_unique<T[]>(count);
  for (std::size_t i = 0; i < count; ++i)
    a[i] = static_cast<T>(i % 2), b[i] = static_cast<T>(i / 2 % 2);
  bool (*const oracle[])(T, T) = {[](T x, T y) { return x == y; }, [](T x, T y) { return x != y; },
                                  [](T x, T y) { return x < y; },  [](T x, T y) { return x <= y; },
                                  [](T x, T y) { return x > y; },  [](T x, T y) { return x >= y; },
                                  [](T x, T y) { return x && y; }, [](T x, T y) { return x || y; }};
  CHECK(std::size(oracle) == compare_count);
  on_every_isa([&] {
    for (int f = 0; f < compare_count; ++f) {
      CAPTURE(f);
      bool truth[100];
      compare<T>(Compare(f), Loop<2>::flat(n, {1, 1}), a.get(), b.get(), truth);
      auto chosen = std::make_unique<T[]>(count);
      select<T>(Loop<3>::flat(n, {1, 1, 1}), truth, a.get(), b.get(), chosen.get());
      for (std::size_t i = 0; i < count; ++i) {
        CHECK(truth[i] == oracle[f](a[i], b[i]));
        CHECK(chosen[i] == (truth[i] ? a[i] : b[i]));
      }
    }
  });
}

TEST_CASE("a comparison with NaN is false, except 'not equal'") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), one = 1;
  on_every_isa([&] {
    for (int f = 0; f <= static_cast<int>(Compare::ge); ++f) {
      bool truth = false;
      compare<float>(Compare(f), Loop<2>::flat(1, {1, 1}), &nan, &one, &truth);
      CHECK(truth == (Compare(f) == Compare::ne));
    }
  });
}

namespace {

// One operand of a Loop: which axes it has (the others are broadcast), and whether its last two
// axes are swapped in memory.
struct Layout {
  std::vector<bool> has;
  bool transposed = false;
};

std::vector<int64_t> strides_of(const std::vector<int64_t>& shape, const Layout& layout) {
  const std::size_t rank = shape.size();
  std::vector<std::size_t> order(rank);
  for (std::size_t d = 0; d < rank; ++d) order[d] = d;
  if (layout.transposed) std::swap(order[rank - 1], order[rank - 2]);
  std::vector<int64_t> strides(rank, 0);
  int64_t step = 1;
  for (std::size_t k = rank; k-- > 0;) {
    if (!layout.has[order[k]]) continue;
    strides[order[k]] = step;
    step *= shape[order[k]];
  }
  return strides;
}

void check_loop(const std::vector<int64_t>& shape, const Layout& la, const Layout& lb) {
  const auto sa = strides_of(shape, la), sb = strides_of(shape, lb);
  Loop<2> loop;
  int64_t total = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    loop.add_axis(shape[d], {sa[d], sb[d]});
    total *= shape[d];
  }
  CHECK(loop.total() == total);
  const auto a = uniform<float>(total, -1, 1, 3), b = uniform<float>(total, -1, 1, 4);
  std::vector<float> y(static_cast<std::size_t>(total) + 1, -77.0f);
  binary<float>(Binary::sub, loop, a.data(), b.data(), y.data());
  CHECK(y.back() == -77.0f);
  int64_t wrong = 0;
  for (int64_t i = 0; i < total; ++i) {
    int64_t rest = i, from_a = 0, from_b = 0;
    for (std::size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
      from_a += rest % shape[d] * sa[d];
      from_b += rest % shape[d] * sb[d];
    }
    const auto at = [](const std::vector<float>& v, int64_t k) { return v[std::size_t(k)]; };
    wrong += at(y, i) != at(a, from_a) - at(b, from_b);
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("operands may be broadcast and strided along any axes") {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {3, 4, 5}, {1, 7, 300}, {40, 3, 700}, {2, 1, 1}, {5, 600, 2}, {3, 0, 4}}) {
    for (int mask_a = 0; mask_a < 8; ++mask_a) {
      for (int mask_b = 0; mask_b < 8; ++mask_b) {
        const auto layout = [](int mask, bool transposed) {
          return Layout{{(mask & 4) != 0, (mask & 2) != 0, (mask & 1) != 0}, transposed};
        };
        check_loop(shape, layout(mask_a, false), layout(mask_b, false));
        check_loop(shape, layout(mask_a, true), layout(mask_b, false));
      }
    }
  }
}

TEST_CASE("axes that continue each other are merged") {
  Loop<2> loop;
  loop.add_axis(2, {12, 0});
  loop.add_axis(1, {99, 99});
  loop.add_axis(3, {4, 4});
  loop.add_axis(4, {1, 1});
  CHECK(loop.rank == 2);
  CHECK(loop.axes[0].size == 2);
  CHECK(loop.axes[1].size == 12);
  CHECK(loop.total() == 24);
}

TEST_CASE("results do not depend on the number of threads") {
  const int64_t rows = 70, columns = 1000, n = rows * columns;
  const auto x = uniform<float>(n, -3, 3, 5), row = uniform<float>(columns, -3, 3, 6);
  Loop<2> loop;
  loop.add_axis(rows, {columns, 0});
  loop.add_axis(columns, {1, 1});
  const int before = num_threads();
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    std::vector<float> y(x.size());
    binary<float>(Binary::div, loop, x.data(), row.data(), y.data());
    unary<float>(Unary::gelu, y.data(), y.data(), n);
    if (threads == 1) first = y;
    CHECK(y == first);
  }
  set_num_threads(before);
}
