#include "growth.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

namespace growth {
namespace {

struct Point {
  double x, y;
};

std::vector<Point> longer_half(const Curve& curve) {
  std::vector<Point> points;
  for (const auto& [length, value] : curve)
    points.push_back({std::log(static_cast<double>(length)), std::log(value)});
  const std::size_t kept = std::max<std::size_t>(2, (points.size() + 1) / 2);
  if (points.size() > kept)
    points.erase(points.begin(), points.end() - static_cast<std::ptrdiff_t>(kept));
  return points;
}

}  // namespace

std::optional<double> exponent(const Curve& curve) {
  if (curve.size() < 2) return std::nullopt;
  const std::vector<Point> points = longer_half(curve);
  const double n = static_cast<double>(points.size());
  Point mean{0, 0};
  for (const Point& p : points) mean = {mean.x + p.x / n, mean.y + p.y / n};
  double xy = 0, xx = 0;
  for (const Point& p : points) {
    xy += (p.x - mean.x) * (p.y - mean.y);
    xx += (p.x - mean.x) * (p.x - mean.x);
  }
  return xy / xx;
}

std::string Crossover::text() const {
  switch (when) {
    case When::never:
      return fmt::format("none up to {}", last);
    case When::always:
      return fmt::format("≤ {}", first);
    case When::from:
      break;
  }
  return fmt::format("{:.0f}", length);
}

std::optional<Crossover> crossover(const Curve& slow, const Curve& fast) {
  std::vector<std::pair<std::int64_t, double>> ratios;  // length, log(slow / fast)
  for (const auto& [length, value] : slow)
    if (const auto other = fast.find(length); other != fast.end())
      ratios.emplace_back(length, std::log(value / other->second));
  if (ratios.empty()) return std::nullopt;
  Crossover found{
      .when = Crossover::When::never, .first = ratios.front().first, .last = ratios.back().first};
  if (ratios.back().second <= 0) return found;
  std::size_t i = ratios.size() - 1;  // start of the last range where `slow` is more expensive
  while (i > 0 && ratios[i - 1].second > 0) --i;
  found.when = i == 0 ? Crossover::When::always : Crossover::When::from;
  if (i == 0) return found;
  const auto& [before, low] = ratios[i - 1];
  const auto& [after, high] = ratios[i];
  const double part = -low / (high - low), span = static_cast<double>(after) / before;
  found.length = static_cast<double>(before) * std::pow(span, part);
  return found;
}

double between(const Curve& curve, double length) {
  auto after = curve.lower_bound(static_cast<std::int64_t>(std::ceil(length)));
  if (after == curve.end()) --after;
  if (after == curve.begin()) return after->second;
  const auto before = std::prev(after);
  const double x0 = std::log(before->first), x1 = std::log(after->first);
  const double part = (std::log(length) - x0) / (x1 - x0);
  return before->second * std::pow(after->second / before->second, part);
}

}  // namespace growth
