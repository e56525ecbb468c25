#include <fovea/core/error.h>
#include <fovea/nn/inspect/axis_detail.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::nn::inspect::detail {
namespace {

// The step, 1, 2 or 5 times a power of ten, that divides `span` into at most `wanted` intervals.
double nice_step(double span, double wanted) {
  const double rough = span / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

std::vector<Tick> linear_ticks(const Axis& axis) {
  const double step = nice_step(axis.high - axis.low, 8);
  std::vector<Tick> ticks;
  // Multiples of the step, not a running sum: rounding errors do not accumulate.
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + step * 1e-9; ++i) {
    const double value = i * step + 0.0;  // + 0.0 turns -0 into 0
    ticks.push_back({value, fmt::format("{:g}", value)});
  }
  return ticks;
}

// Powers of ten, and their multiples by 2 and 5 on short axes.
std::vector<Tick> log_ticks(const Axis& axis) {
  const double span = axis.high - axis.low;
  const int stride = std::max(1, static_cast<int>(std::ceil(span / 8)));
  std::vector<Tick> ticks;
  for (int power = static_cast<int>(std::floor(axis.low)); power <= axis.high; power += stride)
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10, power), at = std::log10(value);
      const bool inside = at >= axis.low - 1e-9 && at <= axis.high + 1e-9;
      if (inside && (factor == 1 || span <= 3))
        ticks.push_back({value, fmt::format("{:g}", value)});
    }
  return ticks;
}

std::vector<Tick> given_ticks(const Axis& axis) {
  std::vector<Tick> ticks;
  for (const double value : axis.labeled) {
    const double at = axis.has(value) ? axis.scaled(value) : axis.low - 1;
    if (at >= axis.low - 1e-9 && at <= axis.high + 1e-9)
      ticks.push_back({value, fmt::format("{:g}", value)});
  }
  return ticks;
}

// Sets the range of the axis to the drawable values; a margin if all are equal or none exist.
void fit(Axis& axis, const std::vector<const std::vector<double>*>& columns) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto* column : columns)
    for (const double value : *column)
      if (axis.has(value)) {
        low = std::min(low, axis.scaled(value));
        high = std::max(high, axis.scaled(value));
      }
  if (low > high) return;  // nothing to draw: 0 .. 1
  const double least = 1e-9 * std::max({std::abs(low), std::abs(high), 1e-9});
  const double room = high - low > least ? 0 : std::max(0.5, std::abs(low) * 0.1);
  axis.low = low - room;
  axis.high = high + room;
}

// Moves the ends outwards to the next tick, so that the curve does not touch the frame. Nearly
// equal values may have only one tick between them: they get one step on either side, as equal
// ones.
void round_outwards(Axis& axis) {
  const double step = axis.logarithmic ? 1 : nice_step(axis.high - axis.low, 8);
  axis.low = std::floor(axis.low / step + 1e-9) * step;
  axis.high = std::ceil(axis.high / step - 1e-9) * step;
  if (axis.low < axis.high) return;
  axis.low -= step;
  axis.high += step;
}

}  // namespace

// Larger values are not plausible losses, and their differences could overflow.
bool Axis::has(double value) const {
  return std::abs(value) < 1e150 && (!logarithmic || value > 0);
}

double Axis::scaled(double value) const { return logarithmic ? std::log10(value) : value; }

std::vector<Tick> ticks_of(const Axis& axis) {
  if (!axis.labeled.empty()) return given_ticks(axis);
  return axis.logarithmic ? log_ticks(axis) : linear_ticks(axis);
}

Axis x_axis(const Chart& chart, double first, double last) {
  Axis axis{.logarithmic = chart.log_x, .first = first, .last = last};
  axis.labeled = chart.x_ticks;
  std::vector<const std::vector<double>*> columns;
  for (const Series& series : chart.series) columns.push_back(&series.x);
  fit(axis, columns);
  return axis;
}

Axis y_axis(const Chart& chart, double first, double last) {
  Axis axis{.logarithmic = chart.log_y, .first = first, .last = last};
  std::vector<const std::vector<double>*> columns;
  for (const Series& series : chart.series) columns.push_back(&series.y);
  fit(axis, columns);
  round_outwards(axis);
  return axis;
}

void check(const Chart& chart) {
  for (const Series& series : chart.series)
    if (series.x.size() != series.y.size())
      shape_error("Chart", "series {} with {} x and {} y: must be equal", series.name,
                  series.x.size(), series.y.size());
}

}  // namespace fovea::nn::inspect::detail
