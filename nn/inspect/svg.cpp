#include <fovea/nn/data/utf8.h>
#include <fovea/nn/inspect/svg.h>

namespace fovea::nn::inspect {
namespace {

// The light theme; the dark theme only overrides the variables.
constexpr std::string_view common_css = R"(
:root { --page: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --mark: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --mark: #79c0ff; }
}
text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328;
       fill: var(--ink); }
.page { fill: #ffffff; fill: var(--page); }
.title { font-size: 15px; font-weight: bold; }
.axis { fill: #59636e; fill: var(--faint); }
.grid { stroke: #d1d9e0; stroke: var(--line); fill: none; }
)";

bool allowed_in_xml(const data::CodePoint& point) {
  if (!point.valid || point.value == 0xFFFE || point.value == 0xFFFF) return false;
  return point.value >= 0x20 || point.value == '\t' || point.value == '\n';
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const data::CodePoint point = data::first_code_point(text);
    if (!allowed_in_xml(point)) {
      out += "�";
    } else if (point.value == '<') {
      out += "&lt;";
    } else if (point.value == '>') {
      out += "&gt;";
    } else if (point.value == '&') {
      out += "&amp;";
    } else if (point.value == '"') {
      out += "&quot;";
    } else {
      out += text.substr(0, point.size);
    }
    text.remove_prefix(point.size);
  }
  return out;
}

Svg::Svg(double width, double height, std::string_view title, std::string_view css) {
  add(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:g} {1:g}" width="{0:g}" )"
      R"(height="{1:g}" role="img">)",
      width, height);
  add("<title>{}</title>", xml_text(title));
  add("<style>{}{}</style>", common_css, css);
  add(R"(<rect class="page" width="{:g}" height="{:g}"/>)", width, height);
}

void Svg::text(Point at, std::string_view css_class, std::string_view anchor,
               std::string_view content, double turn) {
  const std::string turned =
      turn == 0 ? "" : fmt::format(R"-( transform="rotate({:g} {:g} {:g})")-", turn, at.x, at.y);
  add(R"(<text class="{}" x="{:g}" y="{:g}" text-anchor="{}"{}>{}</text>)", css_class, at.x, at.y,
      anchor, turned, xml_text(content));
}

}  // namespace fovea::nn::inspect
