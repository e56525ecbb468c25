#include <fovea/nn/data/utf8.h>

namespace fovea::nn::data {
namespace {

constexpr char32_t replacement = 0xFFFD;

// The number of bytes by the lead byte, and the smallest value that needs that number.
struct Lead {
  std::size_t size;
  char32_t bits;
  char32_t least;
};

Lead read_lead(unsigned char byte) {
  if (byte < 0x80) return {1, byte, 0};
  if ((byte & 0xE0) == 0xC0) return {2, byte & 0x1Fu, 0x80};
  if ((byte & 0xF0) == 0xE0) return {3, byte & 0x0Fu, 0x800};
  if ((byte & 0xF8) == 0xF0) return {4, byte & 0x07u, 0x10000};
  return {0, 0, 0};
}

bool is_surrogate(char32_t value) { return value >= 0xD800 && value <= 0xDFFF; }

}  // namespace

CodePoint first_code_point(std::string_view bytes) {
  constexpr CodePoint invalid{replacement, 1, false};
  const Lead lead = read_lead(static_cast<unsigned char>(bytes[0]));
  if (lead.size == 0 || lead.size > bytes.size()) return invalid;
  char32_t value = lead.bits;
  for (std::size_t i = 1; i < lead.size; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if ((byte & 0xC0) != 0x80) return invalid;
    value = (value << 6) | (byte & 0x3Fu);
  }
  if (value < lead.least || value > 0x10FFFF || is_surrogate(value)) return invalid;
  return {value, lead.size, true};
}

std::size_t find_invalid_utf8(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const CodePoint point = first_code_point(bytes.substr(at));
    if (!point.valid) return at;
    at += point.size;
  }
  return std::string_view::npos;
}

}  // namespace fovea::nn::data
