// UTF-8 decoding, one code point at a time, for the tokenizers, readers and figures.
//
// Source: RFC 3629. Overlong forms, surrogates and values above U+10FFFF are invalid.
#pragma once

#include <cstddef>
#include <string_view>

namespace fovea::nn::data {

/// The code point at the start of some bytes. An invalid byte has size 1 and value U+FFFD, so that
/// a loop over any bytes ends and skips none of them.
struct CodePoint {
  char32_t value;
  std::size_t size;  // in bytes; at least 1
  bool valid;
};

/// `bytes` must not be empty.
CodePoint first_code_point(std::string_view bytes);

/// Offset of the first byte that is not part of a valid code point; npos if all are valid.
std::size_t find_invalid_utf8(std::string_view bytes);

}  // namespace fovea::nn::data
