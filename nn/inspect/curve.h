// Line charts: training and validation curves over steps or seconds.
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

struct Chart {
  std::string title = {};
  std::string x_label = {};
  std::string y_label = {};
  std::vector<Series> series = {};
  bool log_y = false;  // for losses that fall over decades; points that are not positive leave gaps
};

/// The chart as an SVG file for light and dark pages: axes, ticks, grid and legend.
std::string draw_as_svg(const Chart& chart);

/// The chart as lines of text, for reading along a training or beside a table: each series drawn in
/// a mark of its own, so that it is told apart without colour too. Where lines cross, the later one
/// is seen.
std::string draw_in_terminal(const Chart& chart, Colour colour);

}  // namespace fovea::nn::inspect
