// Axes of a chart: range, mapping from values to positions, ticks. Shared by the SVG and the
// terminal renderer.
#pragma once

#include <fovea/nn/inspect/curve.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect::detail {

/// The range of an axis in values and in positions: pixels, or columns and lines of text.
/// On a logarithmic axis `low` and `high` are decimal logarithms.
struct Axis {
  bool logarithmic;
  double first, last;  ///< the positions of `low` and `high`
  double low = 0, high = 1;
  std::vector<double> labeled = {};  ///< the values to label; empty: round values

  bool has(double value) const;  ///< whether the value can be drawn
  double scaled(double value) const;
  double position(double value) const {
    return first + (scaled(value) - low) / (high - low) * (last - first);
  }
};

struct Tick {
  double value;
  std::string label;
};

/// The ticks to label: axis.labeled, or about eight round values.
std::vector<Tick> ticks_of(const Axis& axis);

/// The axes that contain every drawable point of the chart; y ends at round values.
Axis x_axis(const Chart& chart, double first, double last);
Axis y_axis(const Chart& chart, double first, double last);

/// ShapeError if the numbers of x and y of a series differ.
void check(const Chart& chart);

}  // namespace fovea::nn::inspect::detail
