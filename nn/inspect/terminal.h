// Terminal output: the width of a text in columns, and color support.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::inspect {

/// The colors of a figure: none, xterm's palette of 256, or 24-bit values.
enum class Color : std::uint8_t { off, palette, rgb };

/// The colors supported by the terminal of a file descriptor. `off` for files and pipes, for
/// TERM=dumb, and if NO_COLOR is set (https://no-color.org); `rgb` if COLORTERM is truecolor or
/// 24bit.
Color terminal_color(int file_descriptor);

/// One glyph, one or two terminal columns wide: a character with its combining marks.
struct Glyph {
  std::string text;
  int columns;
};

/// The glyphs of a label, made safe and visible: a control character, which could control the
/// terminal and is forbidden in XML, becomes its symbol "␛"; an invalid byte "�"; and in a label of
/// blanks only, each blank "␣".
std::vector<Glyph> glyphs(std::string_view label);

/// All glyphs as one text, and its width in columns.
Glyph visible(std::string_view label);

/// A text made safe for printing in a terminal: as glyphs(), but with line ends, tabs and blanks
/// unchanged.
std::string terminal_text(std::string_view text);
/// The same for text written to a file descriptor: files and pipes get the text unchanged.
std::string terminal_text(std::string_view text, int file_descriptor);

}  // namespace fovea::nn::inspect
