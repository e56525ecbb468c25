// What was measured, as tables, as CSV and as pictures.
#pragma once

#include <fovea/nn/inspect/curve.h>

#include "growth.h"
#include "measure.h"

struct Results {
  Sizes sizes = {};
  std::int64_t batch = 0;                  ///< B
  std::vector<std::int64_t> lengths = {};  ///< asked for
  std::vector<Mode> modes = {};
  struct Measured {
    std::string name;
    bool attends, decodes;
    std::int64_t weights;
  };
  std::vector<Measured> kinds = {};
  std::vector<Point> points = {};
  std::vector<std::string> left_out = {};  ///< which points, and why
};

enum class Quantity : std::uint8_t { seconds, bytes };
growth::Curve curve_of(const Results& results, const std::string& kind, Mode mode, Quantity q);

/// For each mode: milliseconds with their spread, tokens a second and megabytes at every length
/// with the exponents of their growth, and the lengths from which attention is slower.
std::string as_tables(const Results& results, bool markdown);

/// One line a point, in seconds and bytes.
std::string as_csv(const Results& results);

/// Time on the left and memory on the right, a row for each mode. Rings: where causal attention (or
/// the last mechanism measured, where that was not) becomes slower than each recurrent net.
std::string as_svg(const Results& results);
