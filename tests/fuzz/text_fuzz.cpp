// Lines and UTF-8: read_lines, tokenize, first_code_point, Utf8Writer.
// Properties: splitting and joining a line loses no byte; strict lines are valid UTF-8; a writer
// gives the same output for a text in parts and at once, and always valid UTF-8.
#include <fovea/nn/data/text.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/utf8_writer.h>

#include <sstream>

#include "fuzz_target.h"

using namespace fovea;
using namespace fovea::nn::data;

namespace {

bool is_utf8(std::string_view bytes) { return find_invalid_utf8(bytes) == std::string_view::npos; }

void check_lines(std::string_view bytes, Utf8 utf8) {
  std::istringstream in{std::string(bytes)};
  Lines lines;
  const bool read = fuzz::accepts([&] { lines = read_lines(in, "input", utf8); });
  fuzz::require(read || utf8 == Utf8::strict, "lenient reading accepts all bytes");
  for (const std::string& line : lines) {
    fuzz::require(line.find('\n') == std::string::npos, "a line contains no newline");
    fuzz::require(utf8 == Utf8::lenient || is_utf8(line), "strict lines are valid UTF-8");
    const Tokens words = tokenize(line, Unit::words), characters = tokenize(line, Unit::characters);
    fuzz::require(detokenize(characters, Unit::characters) == line, "characters give the line");
    fuzz::require(tokenize(detokenize(words, Unit::words), Unit::words) == words, "words again");
  }
}

std::string written(std::string_view bytes, std::size_t part) {
  std::string out;
  Utf8Writer writer([&](const std::string& text) { out += text; });
  for (std::size_t at = 0; at < bytes.size(); at += part)
    writer.write(std::string(bytes.substr(at, part)));
  writer.finish();
  return out;
}

void check_writer(std::string_view bytes, std::size_t part) {
  const std::string whole = written(bytes, bytes.size() + 1);
  fuzz::require(written(bytes, part) == whole, "parts give the same output as the whole");
  fuzz::require(is_utf8(whole), "what is written is valid UTF-8");
  fuzz::require(!is_utf8(bytes) || whole == bytes, "valid text is unchanged");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const Utf8 utf8 = in.below(2) == 0 ? Utf8::strict : Utf8::lenient;
  const std::size_t part = 1 + in.below(5);
  check_lines(in.rest(), utf8);
  check_writer(in.rest(), part);
  return 0;
}
