// Heat maps of attention weights: which source token each target token looked at.
#pragma once

#include <fovea/nn/inspect/terminal.h>

#include <string>
#include <vector>

namespace fovea::nn::inspect {

/// A matrix of weights 0 .. 1 with a label for every row and column.
struct HeatMap {
  std::string title = {};
  std::vector<std::string> row_labels = {};     // (T) who looks
  std::vector<std::string> column_labels = {};  // (S) what is looked at
  std::vector<double> weights = {};             // (T, S) row-major; shown between 0 and 1
};

/// The map as lines of text, each weight two columns wide, the column labels written downwards.
/// Shades are relative to the largest weight. Without colour a weight is one of five of them; with
/// colour a cell from dark to bright. A NaN is "??".
std::string draw_in_terminal(const HeatMap& map, Colour colour);

/// Several maps, as of a layer's heads, side by side, in as many rows of maps as fit into `width`
/// columns (a map that is wider stands alone).
std::string draw_in_terminal(const std::vector<HeatMap>& maps, Colour colour, int width = 100);

/// The map as an SVG file for light and dark pages; the pointer over a cell shows its number. A NaN
/// is crossed out.
std::string draw_as_svg(const HeatMap& map);

}  // namespace fovea::nn::inspect
