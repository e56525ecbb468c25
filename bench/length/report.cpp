#include "report.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

using namespace fovea::nn::inspect;
using growth::Curve;

namespace {

// A number with three significant digits: 0.0456, 1.23, 12.3, 1234.
std::string three_digits(double value) {
  if (value >= 99.95) return fmt::format("{:.0f}", value);
  return fmt::format("{:#.3g}", value);
}

// 950, 12.3k, 4.56M
std::string short_count(double value) {
  if (value >= 999.5e3) return three_digits(value / 1e6) + "M";
  if (value >= 999.5) return three_digits(value / 1e3) + "k";
  return fmt::format("{:.0f}", value);
}

std::string growth_of(const Curve& curve) {
  const auto power = growth::exponent(curve);
  return power ? fmt::format("T^{:.2f}", *power) : "–";
}

// --- tables --------------------------------------------------------------------------------------

using Row = std::vector<std::string>;

struct Table {
  std::string title;
  std::vector<Row> rows;  // the first one has the headings
};

std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(visible(text).columns);
}

std::string text_of(const Table& table, bool markdown) {
  std::vector<std::size_t> widths(table.rows[0].size(), 0);
  for (const Row& row : table.rows)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns_of(row[i]));
  std::string out = markdown ? fmt::format("**{}**\n\n", table.title) : table.title + "\n";
  for (std::size_t line = 0; line < table.rows.size(); ++line) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string& cell = table.rows[line][i];
      const std::string blanks(widths[i] - columns_of(cell), ' ');
      const std::string padded = i == 0 ? cell + blanks : blanks + cell;
      out += markdown ? fmt::format("| {} ", padded) : "  " + padded;
    }
    out += markdown ? "|\n" : "\n";
    if (markdown && line == 0)
      for (std::size_t i = 0; i <= widths.size(); ++i)
        out += i == 0 ? "|---" : i < widths.size() ? "|---:" : "|\n";
  }
  return out + "\n";
}

// One row per kind, one column per length.
template <class Cell>
Table table_of(const Results& results, Mode mode, const std::string& title, const Cell& cell) {
  Table table{.title = title, .rows = {Row{"T"}}};
  for (const std::int64_t length : results.lengths) table.rows[0].push_back(std::to_string(length));
  for (const auto& kind : results.kinds) {
    Row row{kind.name};
    for (const std::int64_t length : results.lengths) {
      const auto at = std::ranges::find_if(results.points, [&](const Point& p) {
        return p.kind == kind.name && p.mode == mode && p.length == length;
      });
      row.push_back(at == results.points.end() ? "–" : cell(*at));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table with_growth(Table table, const Results& results, Mode mode, Quantity q) {
  table.rows[0].push_back("grows as");
  for (std::size_t i = 0; i < results.kinds.size(); ++i)
    table.rows[i + 1].push_back(growth_of(curve_of(results, results.kinds[i].name, mode, q)));
  return table;
}

Table time_table(const Results& results, Mode mode) {
  const char* what = mode == Mode::decoding ? "one step at position T" : "the whole batch";
  const std::string title = fmt::format("{}, {}: ms ± spread in %", name_of(mode), what);
  const auto cell = [](const Point& p) {
    return fmt::format("{} ±{:.0f}", three_digits(p.timing.median_s * 1e3), p.timing.spread * 100);
  };
  return with_growth(table_of(results, mode, title, cell), results, mode, Quantity::seconds);
}

Table rate_table(const Results& results, Mode mode) {
  return table_of(results, mode, fmt::format("{}: tokens per second", name_of(mode)),
                  [](const Point& p) { return short_count(p.tokens_per_s); });
}

Table memory_table(const Results& results, Mode mode) {
  const char* what =
      mode == Mode::decoding ? "state or cache included" : "beyond inputs and weights";
  const std::string title = fmt::format("{}: peak MB, {}", name_of(mode), what);
  const auto cell = [](const Point& p) { return three_digits(static_cast<double>(p.bytes) / 1e6); };
  return with_growth(table_of(results, mode, title, cell), results, mode, Quantity::bytes);
}

// The length from which each mechanism is slower than each recurrent net; no rows if there is
// nothing to compare.
Table crossover_table(const Results& results, Mode mode) {
  Table table{.title = fmt::format("{}: T from which attention is slower than", name_of(mode)),
              .rows = {Row{""}}};
  for (const auto& net : results.kinds)
    if (!net.attends) table.rows[0].push_back(net.name);
  for (const auto& kind : results.kinds) {
    const Curve slow = curve_of(results, kind.name, mode, Quantity::seconds);
    if (!kind.attends || slow.empty()) continue;
    Row row{kind.name};
    for (const auto& net : results.kinds)
      if (!net.attends) {
        const auto at =
            growth::crossover(slow, curve_of(results, net.name, mode, Quantity::seconds));
        row.push_back(at ? at->text() : "–");
      }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// --- charts --------------------------------------------------------------------------------------

Chart chart_of(const Results& results, Mode mode, Quantity q) {
  const bool time = q == Quantity::seconds;
  const char* what = mode == Mode::decoding ? "a step at position T" : "a batch";
  Chart chart{
      .title = fmt::format("{}: {} of {}, B {}, C {}", name_of(mode), time ? "time" : "memory",
                           what, results.batch, results.sizes.width),
      .x_label = mode == Mode::decoding ? "position T" : "length T",
      .y_label = time ? "ms" : "MB",
      .log_y = true,
      .log_x = true};
  for (const std::int64_t length : results.lengths)
    chart.x_ticks.push_back(static_cast<double>(length));
  for (const auto& kind : results.kinds) {
    const Curve curve = curve_of(results, kind.name, mode, q);
    if (curve.empty()) continue;
    Series series{.name = kind.name + " " + growth_of(curve)};
    for (const auto& [length, value] : curve) {
      series.x.push_back(static_cast<double>(length));
      series.y.push_back(value * (time ? 1e3 : 1e-6));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

// The mechanism compared with recurrent nets: causal, because recurrent nets are causal.
std::string marked_kind(const Results& results) {
  std::string name;
  for (const auto& kind : results.kinds)
    if (kind.attends && name != "causal") name = kind.name;
  return name;
}

std::vector<Mark> crossings(const Results& results, Mode mode) {
  std::vector<Mark> marks;
  const Curve slow = curve_of(results, marked_kind(results), mode, Quantity::seconds);
  for (const auto& net : results.kinds) {
    if (net.attends) continue;
    const auto at = growth::crossover(slow, curve_of(results, net.name, mode, Quantity::seconds));
    if (at && at->when == growth::Crossover::When::from)
      marks.push_back(
          {at->length, growth::between(slow, at->length) * 1e3, net.name + " " + at->text()});
  }
  return marks;
}

}  // namespace

Curve curve_of(const Results& results, const std::string& kind, Mode mode, Quantity q) {
  Curve curve;
  for (const Point& p : results.points)
    if (p.kind == kind && p.mode == mode)
      curve[p.length] = q == Quantity::seconds ? p.timing.median_s : static_cast<double>(p.bytes);
  return curve;
}

std::string as_tables(const Results& results, bool markdown) {
  std::string out = "weights:";
  for (const auto& kind : results.kinds) out += fmt::format(" {} {}", kind.name, kind.weights);
  out += fmt::format("\nB {}, C {}, {} heads, window {}\n\n", results.batch, results.sizes.width,
                     results.sizes.heads, results.sizes.window);
  for (const Mode mode : results.modes) {
    for (auto* make : {time_table, rate_table, memory_table})
      out += text_of(make(results, mode), markdown);
    const Table crossovers = crossover_table(results, mode);
    if (crossovers.rows.size() > 1 && crossovers.rows[0].size() > 1)
      out += text_of(crossovers, markdown);
  }
  for (const auto& kind : results.kinds)
    if (!kind.decodes)
      out += fmt::format(
          "{} has no decoding: each token changes the earlier outputs, so a step is a forward "
          "pass\n",
          kind.name);
  if (!results.left_out.empty())
    out += fmt::format("omitted:\n  {}\n", fmt::join(results.left_out, "\n  "));
  return out;
}

std::string as_csv(const Results& results) {
  std::string out =
      "kind,mode,length,batch,width,weights,seconds,spread,runs,tokens_per_second,bytes\n";
  for (const Point& p : results.points) {
    const auto kind = std::find_if(results.kinds.begin(), results.kinds.end(),
                                   [&](const auto& k) { return k.name == p.kind; });
    out += fmt::format("{},{},{},{},{},{},{:.9g},{:.4g},{},{:.6g},{}\n", p.kind, name_of(p.mode),
                       p.length, results.batch, results.sizes.width, kind->weights,
                       p.timing.median_s, p.timing.spread, p.timing.runs, p.tokens_per_s, p.bytes);
  }
  return out;
}

std::string as_svg(const Results& results) {
  std::vector<Chart> charts;
  for (const Mode mode : results.modes) {
    charts.push_back(chart_of(results, mode, Quantity::seconds));
    charts.back().marks = crossings(results, mode);
    charts.push_back(chart_of(results, mode, Quantity::bytes));
  }
  return draw_as_svg(charts, 2);
}
