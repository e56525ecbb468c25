// Line charts: training and validation curves over steps or seconds, and growth over sizes.
#pragma once

#include <fovea/nn/inspect/terminal.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect {

/// One line of a chart. A point that is not finite leaves a gap.
struct Series {
  std::string name = {};
  std::vector<double> x = {};
  std::vector<double> y = {};
};

/// An annotated point, for example the intersection of two lines: a ring with a label above it. In
/// the SVG only; omitted if outside the axes.
struct Mark {
  double x = 0, y = 0;
  std::string label = {};
};

struct Chart {
  std::string title = {};
  std::string x_label = {};
  std::string y_label = {};
  std::vector<Series> series = {};
  bool log_y = false;  // for losses that fall over decades; points that are not positive leave gaps
  bool log_x = false;
  std::vector<double> x_ticks =
      {};  // values of x to label, such as powers of two; empty: round values
  std::vector<Mark> marks = {};
};

/// The chart as an SVG file for light and dark pages: axes, ticks, grid and legend. From the
/// seventh line on, colors repeat, with hollow dots.
std::string draw_as_svg(const Chart& chart);

/// Several charts in one file, row by row with `columns` in each.   ValueError: columns below 1.
std::string draw_as_svg(const std::vector<Chart>& charts, std::size_t columns);

/// The chart as lines of text, for example to follow a training run in a terminal. Each series has
/// its own marker, so that it is recognizable without color. Where lines cross, the later series is
/// drawn.
std::string draw_in_terminal(const Chart& chart, Color color);

}  // namespace fovea::nn::inspect
