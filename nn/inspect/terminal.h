// What a terminal can show: how many columns a text takes, and whether colours arrive.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::inspect {

/// How a picture may be coloured: not at all, from xterm's palette of 256, or with 24-bit values.
enum class Colour : std::uint8_t { off, palette, rgb };

/// What the terminal behind a file descriptor shows. `off` for files and pipes, for TERM=dumb, and
/// where NO_COLOR is set (https://no-color.org); `rgb` where COLORTERM says truecolor or 24bit.
Colour terminal_colour(int file_descriptor);

/// One thing that a terminal puts in one or two columns: a character with its combining marks.
struct Glyph {
  std::string text;
  int columns;
};

/// The glyphs of a label, made safe and visible: a control character, which could drive the
/// terminal and is forbidden in XML, is shown as its picture "␛"; an invalid byte as "�"; and where
/// there is nothing but blanks, each as "␣".
std::vector<Glyph> glyphs(std::string_view label);

/// All glyphs in a row, and the columns they take.
Glyph visible(std::string_view label);

/// A text of lines as it may be printed in a terminal: as glyphs() shows it, but ends of lines,
/// tabs and blanks stay.
std::string terminal_text(std::string_view text);
/// The same for what is written to a file descriptor: files and pipes get the text unchanged.
std::string terminal_text(std::string_view text, int file_descriptor);

}  // namespace fovea::nn::inspect
