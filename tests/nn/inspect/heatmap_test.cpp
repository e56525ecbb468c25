#include <fovea/core/error.h>
#include <fovea/nn/inspect/heatmap.h>
#include <fovea/tests/nn/inspect/hostile_tokens.h>
#include <fovea/tests/nn/inspect/xml_check.h>

#include <limits>

#include <doctest/doctest.h>

using namespace fovea::nn::inspect;
using fovea::test::count_of;
using fovea::test::what_is_wrong_with;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

const HeatMap greeting{.title = "greeting",
                       .row_labels = {"hello", "日本"},
                       .column_labels = {"a", "bcd", "é"},
                       .weights = {0, 0.5, 1, 0.25, 0.75, nan}};

}  // namespace

TEST_CASE("heat map: in the terminal, without color") {
  CHECK(draw_in_terminal(greeting, Color::off) ==
        "greeting\n"
        "         b\n"
        "         c\n"
        "       a d é\n"
        "      ┌──────┐\n"
        "hello │  ▒▒██│\n"
        " 日本 │░░▓▓??│\n"
        "      └──────┘\n"
        "    0   ░░▒▒▓▓██ 1\n");
}

TEST_CASE("heat map: in the terminal the largest weight has the darkest shade") {
  const HeatMap faint{
      .row_labels = {"r"}, .column_labels = {"a", "b", "c"}, .weights = {0.02, 0.31, 0.1}};
  CHECK(draw_in_terminal(faint, Color::off) ==
        "   a b c\n"
        "  ┌──────┐\n"
        "r │  ██░░│\n"
        "  └──────┘\n"
        "0   ░░▒▒▓▓██ 0.31\n");
}

TEST_CASE("heat map: in the terminal, with color") {
  const std::string rgb = draw_in_terminal(greeting, Color::rgb);
  CHECK(count_of(rgb, "\x1b[48;2;68;1;84m  \x1b[0m") == 2);     // weight 0, and the scale's
  CHECK(count_of(rgb, "\x1b[48;2;253;231;37m  \x1b[0m") == 2);  // weight 1
  CHECK(count_of(rgb, "\x1b[") == 2 * (5 + 5));
  const std::string palette = draw_in_terminal(greeting, Color::palette);
  CHECK(count_of(palette, "\x1b[48;5;") == 5 + 5);
  CHECK(count_of(draw_in_terminal(greeting, Color::off), "\x1b") == 0);
}

TEST_CASE("heat map: several next to each other") {
  const HeatMap small{.title = "日", .row_labels = {"x"}, .column_labels = {"é"}, .weights = {1}};
  const std::vector<HeatMap> maps = {small, greeting, small};
  CHECK(draw_in_terminal(maps, Color::off, 45) ==
        "                 greeting\n"
        "                          b\n"
        "                          c\n"
        "日                      a d é\n"
        "   é                   ┌──────┐\n"
        "  ┌──┐           hello │  ▒▒██│\n"
        "x │██│            日本 │░░▓▓??│\n"
        "  └──┘                 └──────┘\n"
        "0   ░░▒▒▓▓██ 1       0   ░░▒▒▓▓██ 1\n"
        "\n" +
            draw_in_terminal(small, Color::off));
  const std::string wide = draw_in_terminal(maps, Color::rgb, 200);
  CHECK(count_of(wide, "\n") == 9);
  CHECK(count_of(wide, "\x1b[48;2;") ==
        3 * 5 + 1 + 5 + 1);  // the scales, and the cells that are not NaN
  CHECK(draw_in_terminal(std::vector<HeatMap>{}, Color::off) == "");
}

TEST_CASE("heat map: labels cannot control the terminal, and long ones end in dots") {
  const HeatMap map{.title = "\x1b]0;title\x07",
                    .row_labels = {"\x1b[2J"},
                    .column_labels = {"abcdefghijklmnopqrstuvwxyz", " "},
                    .weights = {1, 1}};
  const std::string drawn = draw_in_terminal(map, Color::off);
  CHECK(count_of(drawn, "\x1b") == 0);
  CHECK(count_of(drawn, "o\n") == 1);
  CHECK(count_of(drawn, "⋮ ␣\n") == 1);
  CHECK(count_of(drawn, "p") == 0);
}

TEST_CASE("heat map: weights outside 0 .. 1 are clamped") {
  const HeatMap map{.row_labels = {"x"},
                    .column_labels = {"a", "b", "c", "d"},
                    .weights = {-3, 7, infinity, -infinity}};
  CHECK(count_of(draw_in_terminal(map, Color::off), "x │  ████  │") == 1);
  const std::string svg = draw_as_svg(map);
  CHECK(what_is_wrong_with(svg) == "");
  CHECK(count_of(svg, "x → b: 7.000") == 1);
}

TEST_CASE("heat map: as SVG") {
  const std::string svg = draw_as_svg(greeting);
  CHECK(what_is_wrong_with(svg) == "");
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" "));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(count_of(svg, "<title>greeting</title>") == 1);
  CHECK(count_of(svg, "fill-opacity=\"0.500\"><title>hello → bcd: 0.500</title>") == 1);
  CHECK(count_of(svg, "class=\"cell\"") == 5 + 6);  // and the scale's
  CHECK(count_of(svg, "class=\"nan\"") == 1);
  CHECK(count_of(svg, "prefers-color-scheme: dark") == 1);
  CHECK(count_of(svg, "http") == 1);  // nothing is loaded from elsewhere
}

TEST_CASE("heat map: as SVG, labels are text and nothing else") {
  const HeatMap map{.title = "</title><script>alert(1)</script>",
                    .row_labels = {"\"a\" & <b>", "\x1b\x01\xFF"},
                    .column_labels = {"]]>", "&amp;"},
                    .weights = {0, 0, 0, 0}};
  const std::string svg = draw_as_svg(map);
  CHECK(what_is_wrong_with(svg) == "");
  CHECK(count_of(svg, "<script") == 0);
  CHECK(count_of(svg, "&quot;a&quot; &amp; &lt;b&gt;") == 3);  // the label and two tooltips
  CHECK(count_of(svg, ">&amp;amp;<") == 1);
}

TEST_CASE("heat map: empty maps are drawn, invalid ones are errors") {
  for (const HeatMap& map :
       {HeatMap{}, HeatMap{.row_labels = {"x"}}, HeatMap{.column_labels = {"x"}}}) {
    CHECK(what_is_wrong_with(draw_as_svg(map)) == "");
    CHECK(count_of(draw_in_terminal(map, Color::rgb), "┌") == 1);
  }
  const HeatMap wrong{.row_labels = {"a", "b"}, .column_labels = {"c"}, .weights = {1, 1, 1}};
  const char* message =
      "HeatMap: 3 weights for 2 row labels and 1 column labels: must be one per cell";
  CHECK_THROWS_WITH_AS(draw_as_svg(wrong), message, fovea::ShapeError);
  CHECK_THROWS_WITH_AS(draw_in_terminal(wrong, Color::off), message, fovea::ShapeError);
}

TEST_CASE("heat map: hostile tokens stay text") {
  const auto map_of = [](const std::string& token) {
    return HeatMap{.title = token,
                   .row_labels = {token, "b"},
                   .column_labels = {token, "b"},
                   .weights = {0, 1, 1, 0}};
  };
  const auto other_tags = [](const std::string& svg) {
    return count_of(svg, "<") - count_of(svg, "<text") - count_of(svg, "</text");
  };
  for (const std::string& token : fovea::test::hostile_tokens) {
    CAPTURE(token);
    const std::string svg = draw_as_svg(map_of(token));
    CHECK(what_is_wrong_with(svg) == "");
    CHECK(other_tags(svg) == other_tags(draw_as_svg(map_of("a"))));
    for (const char c : draw_in_terminal(map_of(token), Color::off))
      CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\n'));
  }
}
