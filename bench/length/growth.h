// Growth of cost with sequence length, and the length from which one cost exceeds another.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace growth {

/// The measured values (seconds or bytes) at each length. All lengths and values are above 0.
using Curve = std::map<std::int64_t, double>;

/// The exponent p of  value ~ length^p:  least squares of log value over log length,
///   p = sum (x - mean x)(y - mean y) / sum (x - mean x)^2
/// over the longer half of the points, where constant costs matter least. Needs at least 2 points.
std::optional<double> exponent(const Curve& curve);

/// The length from which `slow` is always more expensive than `fast`.
struct Crossover {
  enum class When : std::uint8_t {
    never,   ///< not more expensive at the last common length
    always,  ///< more expensive at every length
    from     ///< more expensive from `length` to the last length
  };
  When when;
  double length = 0;         ///< for `from`
  std::int64_t first, last;  ///< first and last common length

  std::string text() const;  ///< "730", "≤ 16", "none up to 8192"
};

/// Between the measured lengths, costs are interpolated linearly on logarithmic axes. Empty if
/// there is no common length.
std::optional<Crossover> crossover(const Curve& slow, const Curve& fast);

/// The cost at a length between measured ones, by the same interpolation.
double between(const Curve& curve, double length);

}  // namespace growth
