#include <fovea/nn/data/utf8.h>
#include <fovea/nn/inspect/terminal.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <unistd.h>

namespace fovea::nn::inspect {
namespace {

struct Range {
  char32_t first, last;
};

// Combining marks, joiners and variation selectors, which have no width.
// Source: Unicode 15, general categories Mn, Me and Cf; the blocks used by living languages.
constexpr auto zero_width = std::to_array<Range>({
    {0x0300, 0x036F},   {0x0483, 0x0489},   {0x0591, 0x05BD}, {0x0610, 0x061A}, {0x064B, 0x065F},
    {0x06D6, 0x06DC},   {0x0900, 0x0902},   {0x093C, 0x093C}, {0x0941, 0x0948}, {0x094D, 0x094D},
    {0x0E31, 0x0E31},   {0x0E34, 0x0E3A},   {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},
    {0x200B, 0x200F},   {0x202A, 0x202E},   {0x2060, 0x206F}, {0x20D0, 0x20FF}, {0x302A, 0x302D},
    {0x3099, 0x309A},   {0xFE00, 0xFE0F},   {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0x1F3FB, 0x1F3FF},
    {0xE0020, 0xE007F}, {0xE0100, 0xE01EF},
});

// Characters two columns wide. Source: Unicode 15, UAX #11, classes W and F.
constexpr auto double_width = std::to_array<Range>({
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x23E9, 0x23EC},   {0x25FD, 0x25FE},
    {0x2614, 0x2615},   {0x2648, 0x2653},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},
    {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},   {0x2753, 0x2755},
    {0x2795, 0x2797},   {0x2B1B, 0x2B1C},   {0x2E80, 0x303E},   {0x3041, 0x33FF},
    {0x3400, 0x4DBF},   {0x4E00, 0xA4CF},   {0xA960, 0xA97C},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
    {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD},
});

template <std::size_t N>
bool contains(const std::array<Range, N>& ranges, char32_t value) {
  const auto at = std::lower_bound(ranges.begin(), ranges.end(), value,
                                   [](const Range& range, char32_t v) { return range.last < v; });
  return at != ranges.end() && at->first <= value;
}

bool is_control(char32_t value) { return value < 0x20 || (value >= 0x7F && value < 0xA0); }

// U+FFFE and U+FFFF are valid UTF-8, and forbidden in XML.
bool is_unprintable(const data::CodePoint& point) {
  return !point.valid || point.value == 0xFFFE || point.value == 0xFFFF;
}

// U+2400 + c is the symbol of control character c; the second block of controls has no symbols.
std::string control_picture(char32_t value) {
  if (value == 0x7F) return "␡";
  if (value > 0x7F) return "�";
  return std::string("\xE2\x90") + static_cast<char>(0x80 + value);
}

bool equals(const char* value, std::string_view wanted) {
  return value != nullptr && value == wanted;
}

}  // namespace

Color terminal_color(int file_descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return Color::off;
  const char* term = std::getenv("TERM");
  if (term == nullptr || equals(term, "dumb") || isatty(file_descriptor) == 0) return Color::off;
  const char* colors = std::getenv("COLORTERM");
  return equals(colors, "truecolor") || equals(colors, "24bit") ? Color::rgb : Color::palette;
}

std::vector<Glyph> glyphs(std::string_view label) {
  const bool only_blanks = label.find_first_not_of(' ') == std::string_view::npos;
  std::vector<Glyph> row;
  while (!label.empty()) {
    const data::CodePoint point = data::first_code_point(label);
    const std::string_view bytes = label.substr(0, point.size);
    label.remove_prefix(point.size);
    if (is_unprintable(point)) {
      row.push_back({"�", 1});
    } else if (is_control(point.value)) {
      row.push_back({control_picture(point.value), 1});
    } else if (only_blanks) {
      row.push_back({"␣", 1});
    } else if (!contains(zero_width, point.value)) {
      row.push_back({std::string(bytes), contains(double_width, point.value) ? 2 : 1});
    } else if (!row.empty()) {
      row.back().text += bytes;
    } else {
      row.push_back({"◌" + std::string(bytes), 1});  // a combining mark without a base character
    }
  }
  return row;
}

Glyph visible(std::string_view label) {
  Glyph all{"", 0};
  for (const Glyph& glyph : glyphs(label)) {
    all.text += glyph.text;
    all.columns += glyph.columns;
  }
  return all;
}

std::string terminal_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const data::CodePoint point = data::first_code_point(text);
    const bool layout = point.value == '\n' || point.value == '\t';
    if (is_unprintable(point)) {
      out += "�";
    } else if (is_control(point.value) && !layout) {
      out += control_picture(point.value);
    } else {
      out += text.substr(0, point.size);
    }
    text.remove_prefix(point.size);
  }
  return out;
}

std::string terminal_text(std::string_view text, int file_descriptor) {
  return isatty(file_descriptor) == 0 ? std::string(text) : terminal_text(text);
}

}  // namespace fovea::nn::inspect
