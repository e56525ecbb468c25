#include <fovea/core/error.h>
#include <fovea/nn/inspect/curve.h>

#include <limits>

#include "xml_check.h"
#include <doctest/doctest.h>

using namespace fovea::nn::inspect;
using fovea::test::count_of;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

std::string drawn(std::vector<double> x, std::vector<double> y, bool log_y = false,
                  Color color = Color::off) {
  return draw_in_terminal({.title = "t",
                           .series = {{.name = "s", .x = std::move(x), .y = std::move(y)}},
                           .log_y = log_y},
                          color);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text)
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  return lines;
}

}  // namespace

TEST_CASE("curve in the terminal: title, axes, legend and marks") {
  const std::string text = draw_in_terminal(
      {.title = "loss",
       .x_label = "seconds",
       .y_label = "nats",
       .series = {{"train", {0, 10, 20}, {3, 2, 1}}, {"held out", {0, 20}, {4, 4}}}},
      Color::off);
  const std::vector<std::string> lines = lines_of(text);
  REQUIRE(lines.size() == 2 + 17 + 2 + 2 + 1);
  CHECK(lines[0] == "loss");
  CHECK(lines[1] == "nats");
  CHECK(lines[2].substr(0, 10) == "     4 ┤");   // the highest value
  CHECK(count_of(lines[2], "○") == 64);          // a level line fills its row
  CHECK(lines[18].substr(0, 10) == "     1 ┤");  // the lowest
  CHECK(lines[19].find("└──") != std::string::npos);
  CHECK(lines[20].find("20") != std::string::npos);
  CHECK(lines[20].find("seconds") != std::string::npos);
  CHECK(lines[21] == "        ● train");
  CHECK(lines[22] == "        ○ held out");
}

TEST_CASE("curve in the terminal: a logarithmic x axis") {
  const std::vector<std::string> lines = lines_of(draw_in_terminal(
      {.series = {{"s", {1, 8, 64}, {0, 16, 0}}}, .log_x = true, .x_ticks = {1, 8, 64}},
      Color::off));
  CHECK(lines[2] == "    16 ┤" + std::string(32, ' ') + "●");  // 8 is midway between 1 and 64
  CHECK(lines[20] == "        1" + std::string(31, ' ') + "8" + std::string(29, ' ') + "64  ");
}

TEST_CASE("curve in the terminal: points fall where the axes say") {
  const std::vector<std::string> lines = lines_of(drawn({0, 30, 63}, {0, not_a_number, 16}));
  CHECK(lines[2] == "    16 ┤" + std::string(63, ' ') + "●");
  CHECK(lines[18] == "     0 ┤●");
  // log10: 1 is midway between 0.1 and 10
  const std::vector<std::string> logarithmic = lines_of(drawn({0, 0, 0}, {0.1, 1, 10}, true));
  CHECK(logarithmic[10].substr(0, 10) == "     1 ┤");
  // a steep line has no holes
  CHECK(count_of(drawn({0, 1}, {0, 1}), "●") == 64 + 1);
  CHECK(count_of(drawn({0, 0}, {0, 1}), "●") == 17 + 1);
}

TEST_CASE("curve in the terminal: points that cannot be drawn leave a gap") {
  const std::string text = drawn({0, 31, 32, 63}, {1, 1, not_a_number, 1});
  CHECK(count_of(text, "●") == 32 + 1 + 1);  // a run, a lonely point, the legend's
  CHECK(count_of(drawn({0, 1, 2}, {1, 0, -1}, true), "●") == 1 + 1);
  CHECK(count_of(drawn({}, {}), "●") == 1);
}

TEST_CASE("curve in the terminal: colors") {
  CHECK(count_of(drawn({0, 1}, {1, 1}), "\x1b") == 0);
  const std::string text = drawn({0, 63}, {1, 1}, false, Color::palette);
  CHECK(count_of(text, "\x1b[38;5;74m●\x1b[0m") == 64 + 1);
}

TEST_CASE("curve in the terminal: values that differ by rounding are a horizontal line") {
  for (const double hair : {4e-16, 1e-9}) {
    const std::string text = drawn({0, 63}, {1 - hair, 1 + hair}, true);
    CHECK(count_of(text, "●") == 64 + 1);
    CHECK(lines_of(text)[10].substr(0, 10) == "     1 ┤");
    CHECK(count_of(lines_of(text)[10], "●") == 64);
  }
}

TEST_CASE("curve in the terminal: hostile ranges and names") {
  for (const bool log_y : {false, true}) {
    for (const auto& [low, high] :
         {std::pair{1e-300, 1e-299}, std::pair{1e-308, 1e308}, std::pair{1e15, 1e15 + 0.125},
          std::pair{5e-324, 1e-323}, std::pair{7.0, 7.0}, std::pair{0.0, 0.0}})
      CHECK(lines_of(drawn({0, 1}, {low, high}, log_y)).size() == 23);
    CHECK(lines_of(drawn({-1e308, 1e308}, {1, 2}, log_y)).size() == 23);
    CHECK(lines_of(drawn({1e9, 1e9 + 1}, {-1e149, 1e149}, log_y)).size() == 23);
  }
  Chart chart{.title = "a\x1b[31m"};
  for (int i = 0; i < 8; ++i) chart.series.push_back({"\x1b" + std::to_string(i), {0, 1}, {0, 1}});
  const std::string text = draw_in_terminal(chart, Color::off);
  CHECK(count_of(text, "\x1b") == 0);
  CHECK(count_of(text, "␛7") == 1);
}

TEST_CASE("curve in the terminal: unequal numbers of x and y are an error") {
  CHECK_THROWS_WITH_AS(drawn({1, 2}, {1}), "Chart: series s with 2 x and 1 y: must be equal",
                       fovea::ShapeError);
}
