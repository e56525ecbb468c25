#include <fovea/core/error.h>
#include <fovea/nn/inspect/heatmap.h>
#include <fovea/nn/inspect/svg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace fovea::nn::inspect {
namespace {

void check(const HeatMap& map) {
  const std::size_t rows = map.row_labels.size(), columns = map.column_labels.size();
  if (map.weights.size() != rows * columns)
    shape_error("HeatMap",
                "{} weights for {} row labels and {} column labels: must be one per cell",
                map.weights.size(), rows, columns);
}

double shown(double weight) { return std::isnan(weight) ? weight : std::clamp(weight, 0.0, 1.0); }

// The largest weight; 1 if none is above 0.
double largest(const HeatMap& map) {
  double most = 0;
  for (const double weight : map.weights)
    if (weight > most) most = weight;
  return most > 0 ? std::min(most, 1.0) : 1;
}

// ---- terminal ----

constexpr std::size_t longest_column_label = 16;  // lines above the matrix

struct Rgb {
  int r, g, b;
};

// From dark violet to yellow with uniformly increasing lightness: five points of the viridis map
// (Smith and van der Walt, 2015), interpolated.
Rgb viridis(double weight) {
  constexpr std::array<Rgb, 5> points = {
      {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}};
  const double at = weight * (points.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(at), points.size() - 2);
  const double part = at - static_cast<double>(below);
  const auto mix = [&](int Rgb::*channel) {
    return static_cast<int>(
        std::lround((1 - part) * points[below].*channel + part * points[below + 1].*channel));
  };
  return {mix(&Rgb::r), mix(&Rgb::g), mix(&Rgb::b)};
}

// The nearest color of xterm's 6 x 6 x 6 cube, whose steps are 0, 95, 135, 175, 215, 255.
int palette_index(Rgb color) {
  const auto step = [](int value) { return value < 48 ? 0 : std::max(1, (value - 35) / 40); };
  return 16 + 36 * step(color.r) + 6 * step(color.g) + step(color.b);
}

std::string cell(double weight, Color color) {
  constexpr std::array<std::string_view, 5> shades = {"  ", "░░", "▒▒", "▓▓", "██"};
  if (std::isnan(weight)) return "??";
  if (color == Color::off)
    return std::string(shades[std::min<std::size_t>(4, static_cast<std::size_t>(weight * 5))]);
  const Rgb rgb = viridis(weight);
  if (color == Color::rgb) return fmt::format("\x1b[48;2;{};{};{}m  \x1b[0m", rgb.r, rgb.g, rgb.b);
  return fmt::format("\x1b[48;5;{}m  \x1b[0m", palette_index(rgb));
}

std::string blanks(int count) { return std::string(static_cast<std::size_t>(count), ' '); }

// The column labels written downwards, aligned at the matrix; one text per line.
std::vector<std::string> column_header(const std::vector<std::string>& labels) {
  std::vector<std::vector<Glyph>> stacks;
  std::size_t height = 0;
  for (const std::string& label : labels) {
    stacks.push_back(glyphs(label));
    if (stacks.back().size() > longest_column_label) {
      stacks.back().resize(longest_column_label - 1, Glyph{"", 0});
      stacks.back().push_back({"⋮", 1});
    }
    height = std::max(height, stacks.back().size());
  }
  std::vector<std::string> lines(height);
  for (std::size_t line = 0; line < height; ++line)
    for (const auto& stack : stacks) {
      const std::size_t first = height - stack.size();
      const Glyph glyph = line < first ? Glyph{"", 0} : stack[line - first];
      lines[line] += glyph.text + blanks(2 - glyph.columns);
    }
  for (std::string& line : lines) line.erase(line.find_last_not_of(' ') + 1);
  return lines;
}

std::string repeated(std::string_view piece, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += piece;
  return all;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// A rendered map, to be placed next to others: its lines, and the width of each in columns.
struct Block {
  std::vector<std::string> lines;
  std::vector<int> columns;
  int width = 0;
};

Block block_of(const HeatMap& map, Color color) {
  Block block{.lines = lines_of(draw_in_terminal(map, color)), .columns = {}};
  // Without color, so that the text has no escape sequences of zero width.
  for (const std::string& line : lines_of(draw_in_terminal(map, Color::off))) {
    block.columns.push_back(visible(line).columns);
    block.width = std::max(block.width, block.columns.back());
  }
  return block;
}

constexpr int gap = 3;  // columns between two maps

// Maps next to each other, aligned at their last lines: column labels may have different heights.
struct Blocks {
  std::vector<Block> blocks = {};
  std::size_t height = 0;
  int width = 0;

  void add(Block block) {
    width += (blocks.empty() ? 0 : gap) + block.width;
    height = std::max(height, block.lines.size());
    blocks.push_back(std::move(block));
  }
  std::string str() const {
    std::string out;
    for (std::size_t line = 0; line < height; ++line) {
      int missing = 0;  // columns before the next block
      for (const Block& block : blocks) {
        const std::size_t above = height - block.lines.size();
        if (line >= above && !block.lines[line - above].empty()) {
          out += blanks(missing) + block.lines[line - above];
          missing = -block.columns[line - above];
        }
        missing += block.width + gap;
      }
      out += '\n';
    }
    return out;
  }
};

// ---- SVG ----

constexpr double cell_size = 24, glyph_width = 7.9, title_glyph_width = 9.4, margin = 16;

constexpr std::string_view heat_css = R"(
.cell { fill: #0550ae; fill: var(--mark); shape-rendering: crispEdges; }
.cell:hover { stroke: #cf222e; stroke-width: 2; }
.nan { stroke: #cf222e; stroke-width: 2; fill: none; }
)";

double widest(const std::vector<std::string>& labels) {
  int columns = 0;
  for (const std::string& label : labels) columns = std::max(columns, visible(label).columns);
  return columns * glyph_width;
}

// The position of the matrix in the figure. Column labels of one or two glyphs are horizontal,
// longer ones rotated.
struct Layout {
  bool leaning;
  Point matrix;  // upper left corner
  double width, height;
};

constexpr double lean = -50;  // degrees

Layout lay_out(const HeatMap& map) {
  const double radians = -lean * std::acos(-1.0) / 180;
  const double label_width = widest(map.column_labels);
  Layout layout{};
  layout.leaning = label_width > cell_size;
  const double header = layout.leaning ? label_width * std::sin(radians) + 14 : 22;
  layout.matrix = {margin + widest(map.row_labels) + 8, margin + 20 + header};
  double right = layout.matrix.x + 130;  // the end of the scale
  for (std::size_t s = 0; s < map.column_labels.size(); ++s) {
    const double lying = visible(map.column_labels[s]).columns * glyph_width * std::cos(radians);
    const double column = layout.matrix.x + cell_size * static_cast<double>(s + 1);
    right = std::max(right, layout.leaning ? column + lying : column);
  }
  layout.width = margin + std::max(right, margin + visible(map.title).columns * title_glyph_width);
  layout.height =
      layout.matrix.y + cell_size * static_cast<double>(map.row_labels.size()) + 44 + margin;
  return layout;
}

void add_labels(Svg& svg, const HeatMap& map, const Layout& layout) {
  for (std::size_t s = 0; s < map.column_labels.size(); ++s) {
    const double center = layout.matrix.x + cell_size * (static_cast<double>(s) + 0.5);
    const std::string text = visible(map.column_labels[s]).text;
    if (layout.leaning)
      svg.text({center + 3, layout.matrix.y - 7}, "label", "start", text, lean);
    else
      svg.text({center, layout.matrix.y - 7}, "label", "middle", text);
  }
  for (std::size_t t = 0; t < map.row_labels.size(); ++t) {
    const double baseline = layout.matrix.y + cell_size * (static_cast<double>(t) + 0.5) + 4.5;
    svg.text({layout.matrix.x - 8, baseline}, "label", "end", visible(map.row_labels[t]).text);
  }
}

void add_cells(Svg& svg, const HeatMap& map, const Layout& layout) {
  const std::size_t columns = map.column_labels.size();
  for (std::size_t i = 0; i < map.weights.size(); ++i) {
    const std::size_t t = i / columns, s = i % columns;
    const double x = layout.matrix.x + cell_size * static_cast<double>(s);
    const double y = layout.matrix.y + cell_size * static_cast<double>(t);
    const double weight = shown(map.weights[i]);
    if (std::isnan(weight)) {
      svg.add(R"(<path class="nan" d="M{:g} {:g}l18 18m0 -18l-18 18"/>)", x + 3, y + 3);
      continue;
    }
    svg.add(R"(<rect class="cell" x="{:g}" y="{:g}" width="{:g}" height="{:g}" )"
            R"(fill-opacity="{:.3f}"><title>{} → {}: {:.3f}</title></rect>)",
            x, y, cell_size, cell_size, weight, xml_text(visible(map.row_labels[t]).text),
            xml_text(visible(map.column_labels[s]).text), map.weights[i]);
  }
  svg.add(R"(<rect class="grid" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>)", layout.matrix.x,
          layout.matrix.y, cell_size * static_cast<double>(columns),
          cell_size * static_cast<double>(map.row_labels.size()));
}

// The scale below the matrix: six cells from 0 to 1.
void add_scale(Svg& svg, const Layout& layout) {
  const double y = layout.height - margin - 14, left = layout.matrix.x;
  for (int i = 0; i <= 5; ++i)
    svg.add(R"(<rect class="cell" x="{:g}" y="{:g}" width="20" height="14" fill-opacity="{:g}"/>)",
            left + 20 * i, y, i / 5.0);
  svg.add(R"(<rect class="grid" x="{:g}" y="{:g}" width="120" height="14"/>)", left, y);
  svg.text({left - 8, y + 12}, "axis", "end", "0");
  svg.text({left + 128, y + 12}, "axis", "start", "1");
}

}  // namespace

std::string draw_in_terminal(const HeatMap& map, Color color) {
  check(map);
  const double most = largest(map);
  const std::size_t columns = map.column_labels.size();
  int label_columns = 1;  // at least 1, for the 0 of the scale
  for (const std::string& label : map.row_labels)
    label_columns = std::max(label_columns, visible(label).columns);
  const std::string indent = blanks(label_columns + 2);
  std::string out = map.title.empty() ? "" : visible(map.title).text + "\n";
  for (const std::string& line : column_header(map.column_labels)) out += indent + line + "\n";
  out += blanks(label_columns) + " ┌" + repeated("──", columns) + "┐\n";
  for (std::size_t t = 0; t < map.row_labels.size(); ++t) {
    const Glyph label = visible(map.row_labels[t]);
    out += blanks(label_columns - label.columns) + label.text + " │";
    for (std::size_t s = 0; s < columns; ++s)
      out += cell(shown(map.weights[t * columns + s] / most), color);
    out += "│\n";
  }
  out += blanks(label_columns) + " └" + repeated("──", columns) + "┘\n";
  out += blanks(label_columns - 1) + "0 ";
  for (int i = 0; i <= 4; ++i) out += cell(i / 4.0, color);
  return out + fmt::format(" {:.2g}\n", most);
}

std::string draw_in_terminal(const std::vector<HeatMap>& maps, Color color, int width) {
  std::string out;
  Blocks row;
  for (const HeatMap& map : maps) {
    Block block = block_of(map, color);
    if (!row.blocks.empty() && row.width + gap + block.width > width)
      out += std::exchange(row, {}).str() + "\n";
    row.add(std::move(block));
  }
  return out + row.str();
}

std::string draw_as_svg(const HeatMap& map) {
  check(map);
  const Layout layout = lay_out(map);
  Svg svg(layout.width, layout.height, map.title, heat_css);
  svg.text({margin, margin + 10}, "title", "start", visible(map.title).text);
  add_labels(svg, map, layout);
  add_cells(svg, map, layout);
  add_scale(svg, layout);
  return svg.str();
}

}  // namespace fovea::nn::inspect
