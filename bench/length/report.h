// The results as tables, CSV and charts.
#pragma once

#include <fovea/nn/inspect/curve.h>

#include "growth.h"
#include "measure.h"

struct Results {
  Sizes sizes = {};
  std::int64_t batch = 0;                  ///< B
  std::vector<std::int64_t> lengths = {};  ///< requested lengths
  std::vector<Mode> modes = {};
  struct Measured {
    std::string name;
    bool attends, decodes;
    std::int64_t weights;
  };
  std::vector<Measured> kinds = {};
  std::vector<Point> points = {};
  std::vector<std::string> left_out = {};  ///< omitted points, with the reason
};

enum class Quantity : std::uint8_t { seconds, bytes };
growth::Curve curve_of(const Results& results, const std::string& kind, Mode mode, Quantity q);

/// For each mode: milliseconds with spread, tokens per second and megabytes at every length, with
/// the exponents of growth, and the lengths from which attention is slower.
std::string as_tables(const Results& results, bool markdown);

/// One line per point, in seconds and bytes.
std::string as_csv(const Results& results);

/// Time on the left and memory on the right, one row per mode. Rings mark the lengths from which
/// causal attention (or else the last measured mechanism) is slower than each recurrent net.
std::string as_svg(const Results& results);
