#include <fovea/core/error.h>
#include <fovea/nn/inspect/curve.h>

#include <limits>

#include "xml_check.h"
#include <doctest/doctest.h>

using namespace fovea::nn::inspect;
using fovea::test::count_of;
using fovea::test::what_is_wrong_with;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::string svg_of(std::vector<double> x, std::vector<double> y, bool log_y = false) {
  return draw_as_svg({.title = "t",
                      .series = {{.name = "s", .x = std::move(x), .y = std::move(y)}},
                      .log_y = log_y});
}

// Checks for numbers that no renderer can parse, and for endless axes.
void check_drawn(const std::string& svg) {
  CHECK(what_is_wrong_with(svg) == "");
  CHECK(count_of(svg, "nan") == 0);
  CHECK(count_of(svg, "inf") == 0);
  CHECK(svg.size() < 10'000);
}

}  // namespace

TEST_CASE("curve: axes, ticks, legend and lines") {
  const std::string svg = draw_as_svg(
      {.title = "loss & <more>",
       .x_label = "seconds",
       .y_label = "loss",
       .series = {{"train", {0, 10, 20}, {3, 2, 1}}, {"validation", {0, 20}, {3.5, 1.5}}}});
  CHECK(what_is_wrong_with(svg) == "");
  CHECK(count_of(svg, "loss &amp; &lt;more&gt;") == 2);  // heading and accessible title
  for (const char* text : {">train<", ">validation<", ">seconds<", ">loss<", ">20<", ">3.5<"})
    CHECK_MESSAGE(count_of(svg, text) == 1, text);
  CHECK(count_of(svg, "class=\"line c0\"") == 2);  // the curve and its legend
  CHECK(count_of(svg, "<circle") == 5);
  CHECK(count_of(svg, "prefers-color-scheme: dark") == 2);
}

TEST_CASE("curve: points fall where the axes say") {
  const std::string svg = svg_of({0, 10}, {0, 1});
  CHECK(count_of(svg, "d=\"M74.0 366.0L696.0 72.0\"") == 1);
  // log10: 1 is midway between 0.1 and 10
  CHECK(count_of(svg_of({0, 5, 10}, {0.1, 1, 10}, true), "L385.0 219.0L") == 1);
}

TEST_CASE("curve: zero is written 0") {
  const std::string svg = svg_of({-10, 10}, {-1, 1});
  CHECK(count_of(svg, ">0</text>") == 2);
  CHECK(count_of(svg, ">-0</text>") == 0);
}

TEST_CASE("curve: a point that cannot be drawn leaves a gap") {
  const std::string gap = svg_of({0, 1, 2, 3, 4}, {1, 2, not_a_number, 2, 1});
  check_drawn(gap);
  CHECK(count_of(gap, "d=\"M74.0 366.0L229.5 72.0M540.5 72.0L696.0 366.0\"") == 1);
  CHECK(count_of(gap, "<circle") == 4);
  check_drawn(svg_of({0, 1, infinity, 3}, {1, 2, 3, -infinity}));
  CHECK(count_of(svg_of({0, 1, 2}, {1, 0, -1}, true), "<circle") == 1);  // logarithms of 0 and -1
  // in a long line, single points between two gaps are still drawn
  std::vector<double> x, y;
  for (int i = 0; i < 100; ++i) {
    x.push_back(i);
    y.push_back(i == 49 || i == 51 ? not_a_number : i);
  }
  CHECK(count_of(svg_of(x, y), "<circle") == 1);
}

TEST_CASE("curve: hostile ranges") {
  check_drawn(draw_as_svg(Chart{}));
  check_drawn(svg_of({}, {}));
  check_drawn(svg_of({not_a_number}, {not_a_number}));
  for (const bool log_y : {false, true}) {
    check_drawn(svg_of({5}, {1}, log_y));
    check_drawn(svg_of({0, 1}, {0, 0}, log_y));
    check_drawn(svg_of({0, 1}, {7, 7}, log_y));
    check_drawn(svg_of({1e9, 1e9 + 1}, {1e-300, 1e-299}, log_y));
    check_drawn(svg_of({-1e308, 1e308}, {1e-308, 1e308}, log_y));
    check_drawn(svg_of({-1e149, 1e149}, {1e-140, 1e140}, log_y));
    check_drawn(svg_of({1, 1 + 1e-15}, {1e15, 1e15 + 0.125}, log_y));
    check_drawn(svg_of({0, 1}, {1 - 1e-9, 1 + 1e-9}, log_y));
    check_drawn(svg_of({0, 5e-324}, {5e-324, 1e-323}, log_y));
  }
}

TEST_CASE("curve: a logarithmic x axis") {
  Chart chart{.series = {{"s", {16, 32, 64}, {0, 1, 0}}}, .log_x = true};
  // 32 is midway between 16 and 64
  CHECK(count_of(draw_as_svg(chart), "d=\"M74.0 366.0L385.0 72.0L696.0 366.0\"") == 1);
  CHECK(count_of(draw_as_svg(chart), ">50<") == 1);
  chart.x_ticks = {8, 16, 32, 64, 128};
  const std::string svg = draw_as_svg(chart);
  for (const char* text : {">16<", ">32<", ">64<"}) CHECK_MESSAGE(count_of(svg, text) == 1, text);
  for (const char* text : {">8<", ">128<", ">50<"}) CHECK_MESSAGE(count_of(svg, text) == 0, text);
  chart.series[0].x = {0, -1, 64};
  CHECK(count_of(draw_as_svg(chart), "<circle") == 1);  // logarithms of 0 and -1
}

TEST_CASE("curve: marks are rings at their positions") {
  Chart chart{.series = {{"s", {0, 10}, {0, 1}}}, .marks = {{5, 0.5, "a & b"}, {11, 0.5, "out"}}};
  chart.marks.push_back({5, not_a_number, "nowhere"});
  const std::string svg = draw_as_svg(chart);
  check_drawn(svg);
  CHECK(count_of(svg, "class=\"ring\" cx=\"385.0\" cy=\"219.0\"") == 1);
  CHECK(count_of(svg, ">a &amp; b<") == 1);
  CHECK(count_of(svg, "class=\"ring\"") == 1);
}

TEST_CASE("curve: several charts in one file") {
  const Chart chart{.title = "t", .series = {{"s", {0, 1}, {0, 1}}}};
  const std::string svg = draw_as_svg(std::vector<Chart>{chart, chart, chart}, 2);
  check_drawn(svg);
  CHECK(count_of(svg, "viewBox=\"0 0 1440 840\"") == 1);
  for (const char* at : {"translate(0 0)", "translate(720 0)", "translate(0 420)"})
    CHECK_MESSAGE(count_of(svg, at) == 1, at);
  CHECK(count_of(svg, "<style>") == 1);
  check_drawn(draw_as_svg(std::vector<Chart>{}, 1));
  CHECK_THROWS_WITH_AS(draw_as_svg(std::vector<Chart>{chart}, 0),
                       "Chart: columns = 0: must be at least 1", fovea::ValueError);
}

TEST_CASE("curve: many series repeat the colors, the legend takes several lines") {
  Chart chart{.title = "many"};
  for (int i = 0; i < 8; ++i)
    chart.series.push_back({"a name of some length " + std::to_string(i), {0, 1}, {0, 1}});
  const std::string svg = draw_as_svg(chart);
  check_drawn(svg);
  CHECK(count_of(svg, "class=\"line c1\"") == 2);
  CHECK(count_of(svg, "class=\"line c1 again\"") == 2);
  CHECK(count_of(svg, "class=\"dot c1 again\"") == 3);  // of the curve, and in the legend
  CHECK(count_of(svg, "class=\"line c6\"") == 0);
  CHECK(count_of(svg, "class=\"label\" x=\"108\"") >= 3);
}

TEST_CASE("curve: unequal numbers of x and y are an error") {
  CHECK_THROWS_WITH_AS(svg_of({1, 2}, {1}), "Chart: series s with 2 x and 1 y: must be equal",
                       fovea::ShapeError);
}
