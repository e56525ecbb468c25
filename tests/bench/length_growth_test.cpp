// The fits and crossovers of bench/length, on curves whose answers are known.
#include <cmath>
#include <limits>

#include "growth.h"
#include <doctest/doctest.h>

using namespace growth;

namespace {

// value = factor * length^power at 16, 32, ..., last
Curve power_law(double factor, double power, std::int64_t last = 1024) {
  Curve curve;
  for (std::int64_t length = 16; length <= last; length *= 2)
    curve[length] = factor * std::pow(static_cast<double>(length), power);
  return curve;
}

}  // namespace

TEST_CASE("growth: the exponent of a power") {
  for (const double power : {0.0, 1.0, 1.97, -0.5})
    CHECK(exponent(power_law(3e-6, power)).value() == doctest::Approx(power).epsilon(1e-9));
  CHECK(exponent({{16, 1.0}, {32, 8.0}}).value() == doctest::Approx(3));
  CHECK_FALSE(exponent({{16, 1.0}}).has_value());
  CHECK_FALSE(exponent({}).has_value());
}

TEST_CASE("growth: the exponent is that of the longer half") {
  Curve curve = power_law(1, 2);  // 7 lengths, of which 4 count
  for (const std::int64_t length : {16, 32, 64}) curve[length] = 1e9;
  CHECK(exponent(curve).value() == doctest::Approx(2));
  curve[128] *= 10;
  CHECK(exponent(curve).value() < 1.9);
}

TEST_CASE("growth: least squares, not the ends alone") {
  // of 7 lengths the last 4 count; x: 0 1 2 3 and y: 0 3 0 0, in units of log 2, have -0.3
  const Curve curve{{1, 5}, {2, 5}, {4, 5}, {8, 1}, {16, 8}, {32, 1}, {64, 1}};
  CHECK(exponent(curve).value() == doctest::Approx(-0.3));
}

TEST_CASE("growth: where a square overtakes a straight line") {
  // length^2 = 100 length at 100
  const Crossover at = crossover(power_law(1, 2), power_law(100, 1)).value();
  CHECK(at.when == Crossover::When::from);
  CHECK(at.length == doctest::Approx(100));
  CHECK(at.text() == "100");
  CHECK(between(power_law(1, 2), 100) == doctest::Approx(1e4));
  CHECK(between(power_law(1, 2), 16) == doctest::Approx(256));
  CHECK(between(power_law(1, 2), 1024) == doctest::Approx(1024.0 * 1024.0));
}

TEST_CASE("growth: never, always, and for good") {
  CHECK(crossover(power_law(1, 1), power_law(2, 1)).value().text() == "none up to 1024");
  CHECK(crossover(power_law(1, 1), power_law(1, 1)).value().text() == "none up to 1024");
  CHECK(crossover(power_law(2, 1), power_law(1, 1)).value().text() == "≤ 16");
  // dearer at 16 and 32 already, then cheaper at 64: what counts is the last time
  Curve slow{{16, 2.0}, {32, 2.0}, {64, 0.5}, {128, 2.0}};
  const Curve fast{{16, 1.0}, {32, 1.0}, {64, 1.0}, {128, 1.0}};
  CHECK(crossover(slow, fast).value().length == doctest::Approx(64 * std::sqrt(2.0)));
  slow[128] = 0.5;
  CHECK(crossover(slow, fast).value().text() == "none up to 128");
}

TEST_CASE("growth: only lengths that both have are compared") {
  const Crossover up_to = crossover(power_law(1, 2, 64), power_law(100, 1, 1024)).value();
  CHECK(up_to.text() == "none up to 64");
  CHECK_FALSE(crossover({{16, 1.0}}, {{32, 1.0}}).has_value());
  CHECK_FALSE(crossover({}, power_law(1, 1)).has_value());
}
