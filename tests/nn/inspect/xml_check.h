// A small XML parser for the tests of figures: it checks that a file is well-formed.
#pragma once

#include <fovea/nn/data/utf8.h>

#include <string>
#include <string_view>
#include <vector>

namespace fovea::test {

// "" if every tag is closed in order, every reference is known and every character is allowed; else
// the error. Comments, processing instructions and CDATA are not supported: none are written.
inline std::string what_is_wrong_with(std::string_view xml) {
  for (std::size_t at = 0; at < xml.size();) {
    const auto point = nn::data::first_code_point(xml.substr(at));
    const bool control = point.value < 0x20 && point.value != '\n' && point.value != '\t';
    if (!point.valid || control || point.value == 0xFFFE || point.value == 0xFFFF)
      return "forbidden character at byte " + std::to_string(at);
    at += point.size;
  }
  for (std::size_t at = xml.find('&'); at != xml.npos; at = xml.find('&', at + 1)) {
    const std::string_view name = xml.substr(at, xml.find(';', at) + 1 - at);
    if (name != "&lt;" && name != "&gt;" && name != "&amp;" && name != "&quot;")
      return "unknown reference " + std::string(name.substr(0, 12));
  }
  std::vector<std::string_view> open;
  for (std::size_t at = xml.find('<'); at != xml.npos; at = xml.find('<', at + 1)) {
    const std::string_view tag = xml.substr(at + 1, xml.find('>', at) - at - 1);
    const std::string_view name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag.find('<') != tag.npos) return "a tag that does not end: " + std::string(name);
    if (tag.ends_with('/')) continue;
    if (!tag.starts_with('/')) {
      open.push_back(name);
    } else if (open.empty() || open.back() != tag.substr(1)) {
      return "closes " + std::string(tag.substr(1)) + ", which is not open";
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "left open: " + std::string(open.back());
}

// The number of occurrences of `piece` in `text`.
inline int count_of(std::string_view text, std::string_view piece) {
  int count = 0;
  for (std::size_t at = text.find(piece); at != text.npos; at = text.find(piece, at + 1)) ++count;
  return count;
}

}  // namespace fovea::test
