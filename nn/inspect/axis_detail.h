// Axes of a chart: what they span, where a value falls, which values are labelled. Shared by the
// two ways in which a chart is drawn.
#pragma once

#include <fovea/nn/inspect/curve.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect::detail {

/// The values that an axis spans and the places they fall on: pixels, or columns and lines of text.
/// On a logarithmic axis `low` and `high` are decimal logarithms.
struct Axis {
  bool logarithmic;
  double first, last;  ///< the places of `low` and `high`
  double low = 0, high = 1;
  std::vector<double> labelled = {};  ///< the values to label; none: round ones

  bool has(double value) const;  ///< whether it can be shown
  double scaled(double value) const;
  double place(double value) const {
    return first + (scaled(value) - low) / (high - low) * (last - first);
  }
};

struct Tick {
  double value;
  std::string label;
};

/// The values to label; round ones are about eight.
std::vector<Tick> ticks_of(const Axis& axis);

/// The axes that hold every point of the chart that can be shown; y ends at round values.
Axis x_axis(const Chart& chart, double first, double last);
Axis y_axis(const Chart& chart, double first, double last);

/// ShapeError where a series has not as many x as y.
void check(const Chart& chart);

}  // namespace fovea::nn::inspect::detail
