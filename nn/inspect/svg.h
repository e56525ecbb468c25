// The few pieces of SVG that the pictures are made of.
//
// A picture carries its own style sheet and nothing from elsewhere. Colours are named by class and
// change with the reader's light or dark theme.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace fovea::nn::inspect {

struct Point {
  double x, y;
};

/// Text as it may stand in XML: markup escaped, what XML forbids replaced.
std::string xml_text(std::string_view text);

class Svg {
 public:
  /// `css` is added to the common style sheet. Classes of the latter: page, title, label, axis,
  /// grid.
  Svg(double width, double height, std::string_view title, std::string_view css);

  /// Adds an element, in {fmt} syntax. Texts in it must have gone through xml_text().
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
