#include <fovea/core/error.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/svg.h>
#include <fovea/nn/inspect/terminal.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::nn::inspect {
namespace {

constexpr double width = 720, height = 420;
constexpr double left = 74, right = width - 24, bottom = height - 54;
constexpr double glyph_width = 7.9, legend_top = 56, legend_line = 20;
constexpr std::size_t num_colours = 6;
constexpr std::size_t most_dots = 40;  // a line of more points shows them by its bends

// Colours that stay apart for colour-blind readers too, after Okabe and Ito (2008), darker on light
// pages and lighter on dark ones; from the third on, lines have dashes of their own as well.
constexpr std::string_view curve_css = R"(
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.dot { stroke: none; }
.line.c0 { stroke: #0072b2; } .dot.c0 { fill: #0072b2; }
.line.c1 { stroke: #d55e00; } .dot.c1 { fill: #d55e00; }
.line.c2 { stroke: #009e73; stroke-dasharray: 7 3; } .dot.c2 { fill: #009e73; }
.line.c3 { stroke: #b0578d; stroke-dasharray: 2 3; } .dot.c3 { fill: #b0578d; }
.line.c4 { stroke: #8a6d00; stroke-dasharray: 9 3 2 3; } .dot.c4 { fill: #8a6d00; }
.line.c5 { stroke: #6e7781; stroke-dasharray: 4 4; } .dot.c5 { fill: #6e7781; }
@media (prefers-color-scheme: dark) {
  .line.c0 { stroke: #56b4e9; } .dot.c0 { fill: #56b4e9; }
  .line.c1 { stroke: #ff9e4a; } .dot.c1 { fill: #ff9e4a; }
  .line.c2 { stroke: #3fd0a4; } .dot.c2 { fill: #3fd0a4; }
  .line.c3 { stroke: #e29ac6; } .dot.c3 { fill: #e29ac6; }
  .line.c4 { stroke: #f0e442; } .dot.c4 { fill: #f0e442; }
}
)";

// An axis: the values it spans and the pixels they fall on. On a logarithmic axis `low` and `high`
// are decimal logarithms.
struct Axis {
  bool logarithmic;
  double first, last;  // pixels
  double low = 0, high = 1;

  // Larger numbers are no losses any more, and their differences could overflow.
  bool has(double value) const { return std::abs(value) < 1e150 && (!logarithmic || value > 0); }
  double scaled(double value) const { return logarithmic ? std::log10(value) : value; }
  double pixel(double value) const {
    return first + (scaled(value) - low) / (high - low) * (last - first);
  }
};

struct Tick {
  double value;
  std::string label;
};

// The step 1, 2 or 5 times a power of ten that cuts `span` into at most `wanted` pieces.
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
  // Multiples of the step, counted rather than summed: no rounding piles up.
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + step * 1e-9; ++i) {
    const double value = i * step + 0.0;  // + 0.0 makes 0 of -0
    ticks.push_back({value, fmt::format("{:g}", value)});
  }
  return ticks;
}

// Powers of ten, and their 2- and 5-fold while there is room.
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

std::vector<Tick> ticks_of(const Axis& axis) {
  return axis.logarithmic ? log_ticks(axis) : linear_ticks(axis);
}

// Spans the axis over the values that it can show; equal or missing ones get some room.
void fit(Axis& axis, const std::vector<const std::vector<double>*>& columns) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto* column : columns)
    for (const double value : *column)
      if (axis.has(value)) {
        low = std::min(low, axis.scaled(value));
        high = std::max(high, axis.scaled(value));
      }
  if (low > high) return;  // nothing to show: 0 .. 1
  const double least = 1e-9 * std::max({std::abs(low), std::abs(high), 1e-9});
  const double room = high - low > least ? 0 : std::max(0.5, std::abs(low) * 0.1);
  axis.low = low - room;
  axis.high = high + room;
}

// Moves the ends outwards to the next tick, so that the curve keeps clear of the frame.
void round_outwards(Axis& axis) {
  const double step = axis.logarithmic ? 1 : nice_step(axis.high - axis.low, 8);
  axis.low = std::floor(axis.low / step + 1e-9) * step;
  axis.high = std::ceil(axis.high / step - 1e-9) * step;
}

void check(const Chart& chart) {
  for (const Series& series : chart.series)
    if (series.x.size() != series.y.size())
      shape_error("Chart", "series {} has {} x and {} y: a point needs both", series.name,
                  series.x.size(), series.y.size());
}

Axis x_axis(const Chart& chart) {
  Axis axis{.logarithmic = false, .first = left, .last = right};
  std::vector<const std::vector<double>*> columns;
  for (const Series& series : chart.series) columns.push_back(&series.x);
  fit(axis, columns);
  return axis;
}

Axis y_axis(const Chart& chart, double top) {
  Axis axis{.logarithmic = chart.log_y, .first = bottom, .last = top};
  std::vector<const std::vector<double>*> columns;
  for (const Series& series : chart.series) columns.push_back(&series.y);
  fit(axis, columns);
  round_outwards(axis);
  return axis;
}

// One entry after another, in as many lines as they need. Returns where the legend ends.
double add_legend(Svg& svg, const Chart& chart) {
  double x = left, y = legend_top;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Glyph name = visible(chart.series[i].name);
    const double entry = 34 + name.columns * glyph_width + 22;
    if (x > left && x + entry > right) {
      x = left;
      y += legend_line;
    }
    svg.add(R"(<path class="line c{}" d="M{:.1f} {:.1f}h26"/>)", i % num_colours, x, y - 4);
    svg.text({x + 34, y}, "label", "start", name.text);
    x += entry;
  }
  return y;
}

void add_frame(Svg& svg, const Chart& chart, const Axis& x, const Axis& y) {
  for (const Tick& tick : ticks_of(x)) {
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}V{:.1f}"/>)", x.pixel(tick.value), y.first,
            y.last);
    svg.text({x.pixel(tick.value), bottom + 18}, "axis", "middle", tick.label);
  }
  for (const Tick& tick : ticks_of(y)) {
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>)", left, y.pixel(tick.value), right);
    svg.text({left - 8, y.pixel(tick.value) + 4.5}, "axis", "end", tick.label);
  }
  svg.text({(left + right) / 2, height - 14}, "axis", "middle", visible(chart.x_label).text);
  svg.text({18, (y.first + y.last) / 2}, "axis", "middle", visible(chart.y_label).text, -90);
}

void add_dot(Svg& svg, std::size_t colour, Point at) {
  svg.add(R"(<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3"/>)", colour, at.x, at.y);
}

// A path over the points that can be shown, lifted at the others.
void add_line(Svg& svg, std::size_t colour, const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  std::vector<Point> points, lonely;
  std::size_t run = 0;  // shown points since the last gap
  for (std::size_t i = 0; i <= series.x.size(); ++i) {
    if (i < series.x.size() && x.has(series.x[i]) && y.has(series.y[i])) {
      points.push_back({x.pixel(series.x[i]), y.pixel(series.y[i])});
      path +=
          fmt::format("{}{:.1f} {:.1f}", run == 0 ? 'M' : 'L', points.back().x, points.back().y);
      ++run;
    } else {
      if (run == 1) lonely.push_back(points.back());  // a path of one point shows nothing
      run = 0;
    }
  }
  if (!path.empty()) svg.add(R"(<path class="line c{}" d="{}"/>)", colour, path);
  for (const Point& at : points.size() <= most_dots ? points : lonely) add_dot(svg, colour, at);
}

}  // namespace

std::string draw_as_svg(const Chart& chart) {
  check(chart);
  Svg svg(width, height, chart.title, curve_css);
  svg.text({left, 28}, "title", "start", visible(chart.title).text);
  const double top = add_legend(svg, chart) + 16;
  const Axis x = x_axis(chart), y = y_axis(chart, top);
  add_frame(svg, chart, x, y);
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    add_line(svg, i % num_colours, chart.series[i], x, y);
  return svg.str();
}

}  // namespace fovea::nn::inspect
