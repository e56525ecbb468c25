// Charts drawn with characters: a frame with labels, the lines in it, a legend below.
#include <fovea/nn/inspect/axis_detail.h>
#include <fovea/nn/inspect/curve.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace fovea::nn::inspect {
namespace {

using detail::Axis, detail::Tick, detail::ticks_of;

constexpr int columns = 64, lines = 17;  // inside the frame

// The marker of a series, and its xterm-256 color: those of the SVG on a dark page.
struct Mark {
  std::string_view text;
  int color;
};
constexpr std::array<Mark, 6> marks = {
    {{"●", 74}, {"○", 215}, {"▲", 79}, {"△", 176}, {"■", 227}, {"□", 145}}};

std::string painted(std::size_t series, Color color) {
  const Mark& mark = marks[series % marks.size()];
  if (color == Color::off) return std::string(mark.text);
  return fmt::format("\x1b[38;5;{}m{}\x1b[0m", mark.color, mark.text);
}

std::string blanks(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

// The inside of the frame: the series drawn in each cell, or none.
class Cells {
 public:
  static constexpr int none = -1;

  int at(int line, int column) const { return cells_[index(line, column)]; }
  void put(int line, int column, int series) { cells_[index(line, column)] = series; }

  // Every cell between two points, including both ends.
  void join(double column_0, double line_0, double column_1, double line_1, int series) {
    const double longer = std::max(std::abs(column_1 - column_0), std::abs(line_1 - line_0));
    const int steps = std::max(1, static_cast<int>(std::ceil(longer)));
    for (int i = 0; i <= steps; ++i) {
      const double part = static_cast<double>(i) / steps;
      put(static_cast<int>(std::lround(line_0 + part * (line_1 - line_0))),
          static_cast<int>(std::lround(column_0 + part * (column_1 - column_0))), series);
    }
  }

 private:
  static std::size_t index(int line, int column) {
    return static_cast<std::size_t>(line * columns + column);
  }
  std::vector<int> cells_ = std::vector<int>(static_cast<std::size_t>(lines * columns), none);
};

void add_series(Cells& cells, const Series& series, int number, const Axis& x, const Axis& y) {
  const auto shown = [&](std::size_t i) { return x.has(series.x[i]) && y.has(series.y[i]); };
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!shown(i)) continue;
    const std::size_t before = i > 0 && shown(i - 1) ? i - 1 : i;  // a single point: one cell
    cells.join(x.position(series.x[before]), y.position(series.y[before]), x.position(series.x[i]),
               y.position(series.y[i]), number);
  }
}

// The label of each line of the frame, or "".
std::vector<std::string> line_labels(const Axis& y) {
  std::vector<std::string> labels(static_cast<std::size_t>(lines));
  for (const Tick& tick : ticks_of(y))
    labels[static_cast<std::size_t>(std::lround(y.position(tick.value)))] = tick.label;
  return labels;
}

// The labels below the frame; a label that would touch the previous one is omitted.
std::string column_labels(const Axis& x) {
  std::string text;
  for (const Tick& tick : ticks_of(x)) {
    const int middle = static_cast<int>(std::lround(x.position(tick.value)));
    const int start = std::max(0, middle - static_cast<int>(tick.label.size()) / 2);
    const int end = static_cast<int>(text.size());
    if (end == 0 || start > end) text += blanks(start - end) + tick.label;
  }
  return text;
}

std::string legend(const Chart& chart, int gutter, Color color) {
  std::string text;
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    text += blanks(gutter) + painted(i, color) + ' ' + visible(chart.series[i].name).text + '\n';
  return text;
}

// One line of the frame, without trailing blanks.
std::string inside(const Cells& cells, int line, Color color) {
  std::string text;
  int missing = 0;  // blanks before the next marker
  for (int column = 0; column < columns; ++column) {
    const int series = cells.at(line, column);
    if (series == Cells::none) {
      ++missing;
    } else {
      text += blanks(missing) + painted(static_cast<std::size_t>(series), color);
      missing = 0;
    }
  }
  return text;
}

}  // namespace

std::string draw_in_terminal(const Chart& chart, Color color) {
  detail::check(chart);
  const Axis x = detail::x_axis(chart, 0, columns - 1), y = detail::y_axis(chart, lines - 1, 0);
  Cells cells;
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    add_series(cells, chart.series[i], static_cast<int>(i), x, y);
  const std::vector<std::string> labels = line_labels(y);
  std::size_t widest = 6;
  for (const std::string& label : labels) widest = std::max(widest, label.size());
  const int gutter = static_cast<int>(widest) + 2;  // columns left of the frame's inside

  std::string out = visible(chart.title).text + '\n' + visible(chart.y_label).text + '\n';
  for (int line = 0; line < lines; ++line) {
    const std::string& label = labels[static_cast<std::size_t>(line)];
    out += fmt::format("{:>{}} {}{}\n", label, widest, label.empty() ? "│" : "┤",
                       inside(cells, line, color));
  }
  out += blanks(gutter - 1) + "└";
  for (int column = 0; column < columns; ++column) out += "─";
  out += '\n' + blanks(gutter) + column_labels(x) + "  " + visible(chart.x_label).text + '\n';
  return out + legend(chart, gutter, color);
}

}  // namespace fovea::nn::inspect
