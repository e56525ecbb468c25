// The errors of core/kernels/vecmath.h, measured against the C library in a wider type.
#include <fovea/core/denormals.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/map.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

using Wide = long double;

struct Function {
  const char* name;
  Unary kernel;
  Wide (*exact)(Wide);
  double bound;  // in units in the last place, as in vecmath.h
};

const Function functions[] = {
    {"exp", Unary::exp, [](Wide x) { return std::exp(x); }, 1.1},
    {"log", Unary::log, [](Wide x) { return std::log(x); }, 1.0},
    {"tanh", Unary::tanh, [](Wide x) { return std::tanh(x); }, 2.6},
    {"sigmoid", Unary::sigmoid, [](Wide x) { return 1 / (1 + std::exp(-x)); }, 2.5},
    {"erf", Unary::erf, [](Wide x) { return std::erf(x); }, 1.5},
    {"softplus", Unary::softplus,
     [](Wide x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))); }, 2.0},
};

// |got - exact| as a multiple of the spacing of T at `exact`. If one is NaN and the other is not,
// or infinite where T could represent the other: infinity.
template <class T>
double ulp_error(T got, Wide exact) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(exact)) return std::isnan(got) ? 0 : Limits::infinity();
  if (static_cast<Wide>(got) == exact) return 0;
  int exponent = 0;
  std::frexp(exact, &exponent);
  exponent = std::min(std::max(exponent, Limits::min_exponent), Limits::max_exponent);
  const Wide unit = std::ldexp(Wide{1}, exponent - Limits::digits);
  // Overflow: infinity counts as the first power of two that T cannot represent.
  const Wide value =
      std::isinf(got) ? std::copysign(std::ldexp(Wide{1}, Limits::max_exponent), got) : got;
  if (std::isinf(got) && std::fabs(exact) > std::fabs(value)) return 0;
  return static_cast<double>(std::fabs(value - exact) / unit);
}

// Every 1999th of all floats, including NaNs, infinities and denormals.
std::vector<float> all_kinds_of_floats() {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1999) {
    const auto word = static_cast<std::uint32_t>(bits);
    x.emplace_back();
    std::memcpy(&x.back(), &word, sizeof(word));
  }
  return x;
}

// The curved range of the functions, up to the overflow of exp, and all magnitudes.
std::vector<double> all_kinds_of_doubles() {
  std::mt19937_64 bits(1);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> x;
  for (int i = 0; i < 150000; ++i) {
    for (const double range : {1.5, 8.0, 750.0}) x.push_back(range * uniform(bits));
    x.push_back(uniform(bits) * std::exp2(1073 * uniform(bits)));
  }
  return x;
}

const Isa isas[] = {Isa::baseline, Isa::v3, Isa::v4};

template <class T>
void check_bounds(const std::vector<T>& x, const char* type) {
  std::vector<T> y(x.size());
  std::vector<Wide> exact(x.size());
  fovea::set_flush_denormal(false);  // the bounds hold for denormals too
  for (const Function& f : functions) {
    for (std::size_t i = 0; i < x.size(); ++i) exact[i] = f.exact(x[i]);
    for (const Isa isa : isas) {
      if (set_isa(isa) != isa) continue;
      unary<T>(f.kernel, x.data(), y.data(), static_cast<int64_t>(x.size()));
      double worst = 0;
      T at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = ulp_error(y[i], exact[i]);
        if (error > worst) worst = error, at = x[i];
      }
      const std::string where = std::string(f.name) + " " + type + " " + name_of(isa);
      MESSAGE(where << ": " << worst << " ulp at " << at);
      CHECK_MESSAGE(worst <= f.bound, where);
    }
  }
  set_isa(detected_isa());
  fovea::set_flush_denormal(true);
}

template <class T>
T at(Unary f, T x) {
  T y = 0;
  unary<T>(f, &x, &y, 1);
  return y;
}

}  // namespace

TEST_CASE("f32: errors stay within the documented bounds") {
  check_bounds(all_kinds_of_floats(), "f32");
}

TEST_CASE("f64: errors stay within the documented bounds") {
  check_bounds(all_kinds_of_doubles(), "f64");
}

TEST_CASE_TEMPLATE("limits, signed zeros and NaN", T, float, double) {
  const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  for (const Isa isa : isas) {
    if (set_isa(isa) != isa) continue;
    CAPTURE(name_of(isa));
    CHECK(at(Unary::exp, -inf) == 0);
    CHECK(at(Unary::exp, inf) == inf);
    CHECK(at(Unary::exp, T{0}) == 1);
    CHECK(at(Unary::log, T{0}) == -inf);
    CHECK(at(Unary::log, T{1}) == 0);
    CHECK(at(Unary::log, inf) == inf);
    CHECK(std::isnan(at(Unary::log, T{-1})));
    CHECK(at(Unary::tanh, inf) == 1);
    CHECK(at(Unary::tanh, -inf) == -1);
    CHECK(std::signbit(at(Unary::tanh, -T{0})));
    CHECK(at(Unary::sigmoid, inf) == 1);
    CHECK(at(Unary::sigmoid, -inf) == 0);
    CHECK(at(Unary::sigmoid, T{0}) == T(0.5));
    CHECK(at(Unary::erf, inf) == 1);
    CHECK(at(Unary::erf, -inf) == -1);
    CHECK(std::signbit(at(Unary::erf, -T{0})));
    CHECK(at(Unary::softplus, inf) == inf);
    CHECK(at(Unary::softplus, -inf) == 0);
    for (const Function& f : functions) {
      CAPTURE(f.name);
      CHECK(std::isnan(at(f.kernel, nan)));
      CHECK(std::isnan(at(f.kernel, -nan)));
    }
  }
  set_isa(detected_isa());
}
