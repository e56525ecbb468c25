// Heat maps of attention weights: which source tokens each target token attended to.
#pragma once

#include <fovea/nn/inspect/terminal.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect {

/// A matrix of weights 0 .. 1 with a label for every row and column.
struct HeatMap {
  std::string title = {};
  std::vector<std::string> row_labels = {};     // (T) queries
  std::vector<std::string> column_labels = {};  // (S) keys
  std::vector<double> weights = {};             // (T, S) row-major; shown between 0 and 1
};

/// The map as lines of text, each weight two columns wide, the column labels written downwards.
/// Shades are relative to the largest weight: five characters without color; with color, cells from
/// dark to bright. A NaN is "??".
std::string draw_in_terminal(const HeatMap& map, Color color);

/// Several maps, for example of the heads of a layer, next to each other in a width of `width`
/// columns, wrapped to several rows of maps (a wider map gets its own row).
std::string draw_in_terminal(const std::vector<HeatMap>& maps, Color color, int width = 100);

/// The map as an SVG file for light and dark pages; hovering over a cell shows its value. A NaN is
/// crossed out.
std::string draw_as_svg(const HeatMap& map);

}  // namespace fovea::nn::inspect
