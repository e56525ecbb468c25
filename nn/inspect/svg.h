// The SVG elements that the figures use.
//
// A figure contains its own style sheet and refers to no other file. Colors are set by CSS class
// and follow the light or dark theme of the reader.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace fovea::nn::inspect {

struct Point {
  double x, y;
};

/// Text for XML: markup escaped, characters that XML forbids replaced.
std::string xml_text(std::string_view text);

class Svg {
 public:
  /// `css` is appended to the common style sheet, which has the classes page, title, label, axis
  /// and grid.
  Svg(double width, double height, std::string_view title, std::string_view css);

  /// Adds an element, in {fmt} syntax. Texts in it must be escaped by xml_text().
  template <class... Args>
  void add(fmt::format_string<Args...> element, Args&&... args) {
    body_ += fmt::format(element, std::forward<Args>(args)...) + "\n";
  }

  /// `anchor` is start, middle or end; `turn` is in degrees, clockwise, about `at`.
  void text(Point at, std::string_view css_class, std::string_view anchor, std::string_view content,
            double turn = 0);

  /// The whole file.
  std::string str() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
};

}  // namespace fovea::nn::inspect
