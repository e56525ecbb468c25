#include <fovea/core/error.h>
#include <fovea/nn/inspect/axis_detail.h>
#include <fovea/nn/inspect/curve.h>
#include <fovea/nn/inspect/svg.h>
#include <fovea/nn/inspect/terminal.h>

namespace fovea::nn::inspect {
namespace {

using detail::Axis, detail::Tick, detail::ticks_of;

constexpr double width = 720, height = 420;
constexpr double left = 74, right = width - 24, bottom = height - 54;
constexpr double glyph_width = 7.9, legend_top = 56, legend_line = 20;
constexpr std::size_t num_colors = 6;
constexpr std::size_t most_dots = 40;  // lines with more points are drawn without dots

// A color-blind safe palette after Okabe and Ito (2008), darker on light pages and lighter on dark
// ones; from the third line on, lines also differ by dashes.
constexpr std::string_view curve_css = R"(
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dot { fill: currentColor; stroke: currentColor; }
.recomputed_work.dot { fill: #ffffff; fill: var(--page); stroke-width: 1.5; }
.ring { fill: none; stroke: #1f2328; stroke: var(--ink); }
.c0 { color: #0072b2; }
.c1 { color: #d55e00; }
.c2 { color: #009e73; } .c2.line { stroke-dasharray: 7 3; }
.c3 { color: #b0578d; } .c3.line { stroke-dasharray: 2 3; }
.c4 { color: #8a6d00; } .c4.line { stroke-dasharray: 9 3 2 3; }
.c5 { color: #6e7781; } .c5.line { stroke-dasharray: 4 4; }
@media (prefers-color-scheme: dark) {
  .c0 { color: #56b4e9; }
  .c1 { color: #ff9e4a; }
  .c2 { color: #3fd0a4; }
  .c3 { color: #e29ac6; }
  .c4 { color: #f0e442; }
}
)";

// The CSS classes of a series: its color, and hollow dots from the seventh series on.
std::string style_of(std::size_t series) {
  return fmt::format("c{}{}", series % num_colors, series < num_colors ? "" : " again");
}

void add_dot(Svg& svg, std::size_t series, Point at) {
  svg.add(R"(<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"/>)", style_of(series), at.x,
          at.y);
}

// Draws the entries of the legend, wrapped to several lines. Returns the lower end of the legend.
double add_legend(Svg& svg, const Chart& chart) {
  double x = left, y = legend_top;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Glyph name = visible(chart.series[i].name);
    const double entry = 34 + name.columns * glyph_width + 22;
    if (x > left && x + entry > right) {
      x = left;
      y += legend_line;
    }
    svg.add(R"(<path class="line {}" d="M{:.1f} {:.1f}h26"/>)", style_of(i), x, y - 4);
    if (i >= num_colors) add_dot(svg, i, {x + 13, y - 4});
    svg.text({x + 34, y}, "label", "start", name.text);
    x += entry;
  }
  return y;
}

void add_frame(Svg& svg, const Chart& chart, const Axis& x, const Axis& y) {
  for (const Tick& tick : ticks_of(x)) {
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}V{:.1f}"/>)", x.position(tick.value), y.first,
            y.last);
    svg.text({x.position(tick.value), bottom + 18}, "axis", "middle", tick.label);
  }
  for (const Tick& tick : ticks_of(y)) {
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>)", left, y.position(tick.value),
            right);
    svg.text({left - 8, y.position(tick.value) + 4.5}, "axis", "end", tick.label);
  }
  svg.text({(left + right) / 2, height - 14}, "axis", "middle", visible(chart.x_label).text);
  svg.text({18, (y.first + y.last) / 2}, "axis", "middle", visible(chart.y_label).text, -90);
}

// A path over the drawable points, with gaps at the others.
void add_line(Svg& svg, std::size_t number, const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  std::vector<Point> points, single;
  std::size_t run = 0;  // shown points since the last gap
  for (std::size_t i = 0; i <= series.x.size(); ++i) {
    if (i < series.x.size() && x.has(series.x[i]) && y.has(series.y[i])) {
      points.push_back({x.position(series.x[i]), y.position(series.y[i])});
      path +=
          fmt::format("{}{:.1f} {:.1f}", run == 0 ? 'M' : 'L', points.back().x, points.back().y);
      ++run;
    } else {
      if (run == 1) single.push_back(points.back());  // a path of one point is invisible
      run = 0;
    }
  }
  if (!path.empty()) svg.add(R"(<path class="line {}" d="{}"/>)", style_of(number), path);
  for (const Point& at : points.size() <= most_dots ? points : single) add_dot(svg, number, at);
}

void add_mark(Svg& svg, const Mark& mark, const Axis& x, const Axis& y) {
  const auto inside = [](const Axis& axis, double value) {
    return axis.has(value) && axis.scaled(value) >= axis.low && axis.scaled(value) <= axis.high;
  };
  if (!inside(x, mark.x) || !inside(y, mark.y)) return;
  const Point at{x.position(mark.x), y.position(mark.y)};
  svg.add(R"(<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="7"/>)", at.x, at.y);
  svg.text({at.x, at.y - 11}, "label", "middle", visible(mark.label).text);
}

void add_chart(Svg& svg, const Chart& chart) {
  svg.text({left, 28}, "title", "start", visible(chart.title).text);
  const double top = add_legend(svg, chart) + 16;
  const Axis x = detail::x_axis(chart, left, right), y = detail::y_axis(chart, bottom, top);
  add_frame(svg, chart, x, y);
  for (std::size_t i = 0; i < chart.series.size(); ++i) add_line(svg, i, chart.series[i], x, y);
  for (const Mark& mark : chart.marks) add_mark(svg, mark, x, y);
}

}  // namespace

std::string draw_as_svg(const Chart& chart) {
  detail::check(chart);
  Svg svg(width, height, chart.title, curve_css);
  add_chart(svg, chart);
  return svg.str();
}

std::string draw_as_svg(const std::vector<Chart>& charts, std::size_t columns) {
  if (columns == 0) value_error("Chart", "columns = 0: must be at least 1");
  for (const Chart& chart : charts) detail::check(chart);
  const std::size_t rows = (charts.size() + columns - 1) / columns;
  Svg svg(width * static_cast<double>(columns), height * static_cast<double>(rows),
          charts.empty() ? "" : charts[0].title, curve_css);
  for (std::size_t i = 0; i < charts.size(); ++i) {
    svg.add(R"-(<g transform="translate({:g} {:g})">)-", width * static_cast<double>(i % columns),
            height * static_cast<double>(i / columns));
    add_chart(svg, charts[i]);
    svg.add("</g>");
  }
  return svg.str();
}

}  // namespace fovea::nn::inspect
