// How a cost grows with length, and where one cost overtakes another.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace growth {

/// What was measured (seconds, bytes) at each length. All lengths and values are above 0.
using Curve = std::map<std::int64_t, double>;

/// The exponent p of  value ~ length^p:  least squares of log value over log length,
///   p = sum (x - mean x)(y - mean y) / sum (x - mean x)^2
/// on the longer half of the points, where constant costs weigh least. None of fewer than 2 points.
std::optional<double> exponent(const Curve& curve);

/// Where `slow` becomes dearer than `fast` for good.
struct Crossover {
  enum class When : std::uint8_t {
    never,   ///< at the last length that both have, it is not
    always,  ///< it is at every length
    from     ///< from `length` on, up to the last one
  };
  When when;
  double length = 0;         ///< of `from`
  std::int64_t first, last;  ///< the lengths that both have

  std::string text() const;  ///< "730", "≤ 16", "none up to 8192"
};

/// Between the measured lengths both costs are taken for powers of the length, straight lines on
/// logarithmic axes. None where the two share no length.
std::optional<Crossover> crossover(const Curve& slow, const Curve& fast);

/// The cost at a length between measured ones, by the same straight line.
double between(const Curve& curve, double length);

}  // namespace growth
