// HTML pages and SVG images with hostile texts: reports, heat maps, curves.
// Properties: a text adds no markup and is unchanged in the page's data; terminal output has no
// control characters except newlines, unless colors are enabled.
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/inspect/heatmap.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/nn/inspect/svg.h>

#include <algorithm>

#include "fuzz_target.h"
#include <nlohmann/json.hpp>

using namespace fovea;
using namespace fovea::nn::inspect;

namespace {

std::size_t count_of(std::string_view text, char wanted) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), wanted));
}

Report report_of(const std::string& text) {
  Report report{.title = text, .description = text, .facts = {{text, text}}};
  report.sentences = {{.title = text, .prediction = text, .sequences = {{text, {text, "b"}}}}};
  report.sentences[0].maps = {{.layer = text,
                               .mechanism = text,
                               .queries = text,
                               .keys = text,
                               .weights = {1, 0, 0.5f, 0.5f}}};
  return report;
}

void check_page(const std::string& text) {
  static const std::string plain = report_page(report_of("a"));
  const std::string page = report_page(report_of(text));
  fuzz::require(count_of(page, '<') == count_of(plain, '<'), "a text adds no markup to a page");
  constexpr std::string_view mark = "id=\"data\">";
  const std::size_t begin = page.find(mark) + mark.size();
  const auto json = nlohmann::json::parse(page.substr(begin, page.find('<', begin) - begin));
  const bool valid = nn::data::find_invalid_utf8(text) == std::string::npos;
  fuzz::require(!valid || json["title"] == text, "a text is unchanged in the page's data");
}

void check_pictures(const std::string& text) {
  const HeatMap map{
      .title = text, .row_labels = {text, ""}, .column_labels = {text}, .weights = {1, 0}};
  const std::string drawn = draw_in_terminal(map, Color::off), svg = draw_as_svg(map);
  for (std::string_view rest = drawn; !rest.empty();) {
    const nn::data::CodePoint point = nn::data::first_code_point(rest);
    const bool control = point.value < 0x20 || (point.value >= 0x7F && point.value < 0xA0);
    fuzz::require(point.valid && (!control || point.value == '\n'), "no control character");
    rest.remove_prefix(point.size);
  }
  const HeatMap plain{
      .title = "a", .row_labels = {"a", ""}, .column_labels = {"a"}, .weights = {1, 0}};
  static const std::size_t markup = count_of(draw_as_svg(plain), '<');
  fuzz::require(count_of(svg, '<') == markup, "a text adds no markup to an image");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_page(text);
  check_pictures(text);
  return 0;
}
