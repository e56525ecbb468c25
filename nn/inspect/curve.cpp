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
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}V{:.1f}"/>)", x.place(tick.value), y.first,
            y.last);
    svg.text({x.place(tick.value), bottom + 18}, "axis", "middle", tick.label);
  }
  for (const Tick& tick : ticks_of(y)) {
    svg.add(R"(<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>)", left, y.place(tick.value), right);
    svg.text({left - 8, y.place(tick.value) + 4.5}, "axis", "end", tick.label);
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
      points.push_back({x.place(series.x[i]), y.place(series.y[i])});
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
  detail::check(chart);
  Svg svg(width, height, chart.title, curve_css);
  svg.text({left, 28}, "title", "start", visible(chart.title).text);
  const double top = add_legend(svg, chart) + 16;
  const Axis x = detail::x_axis(chart, left, right), y = detail::y_axis(chart, bottom, top);
  add_frame(svg, chart, x, y);
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    add_line(svg, i % num_colours, chart.series[i], x, y);
  return svg.str();
}

}  // namespace fovea::nn::inspect
