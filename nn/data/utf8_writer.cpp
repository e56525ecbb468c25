#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/utf8_writer.h>

#include <string_view>

namespace fovea::nn::data {
namespace {

constexpr const char* replacement = "\xEF\xBF\xBD";  // U+FFFD

// Whether these bytes are the start of a valid character.
bool is_valid_prefix(std::string_view bytes) {
  // Tries the smallest and the largest continuation bytes.
  for (const char next : {'\x80', '\xBF'}) {
    std::string longer(bytes);
    while (longer.size() < 4) {
      longer += next;
      const CodePoint point = first_code_point(longer);
      if (point.valid && point.size == longer.size()) return true;
    }
  }
  return false;
}

}  // namespace

void Utf8Writer::write(const std::string& bytes) {
  waiting_ += bytes;
  std::string ready;
  std::string_view rest = waiting_;
  while (!rest.empty()) {
    const CodePoint point = first_code_point(rest);
    if (!point.valid && rest.size() < 4 && is_valid_prefix(rest)) break;
    if (point.valid)
      ready += rest.substr(0, point.size);
    else
      ready += replacement;
    rest.remove_prefix(point.size);
  }
  waiting_ = std::string(rest);
  if (!ready.empty()) out_(ready);
}

void Utf8Writer::finish() {
  std::string rest;
  for (std::size_t i = 0; i < waiting_.size(); ++i) rest += replacement;
  waiting_.clear();
  if (!rest.empty()) out_(rest);
}

}  // namespace fovea::nn::data
