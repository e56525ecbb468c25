#include <fovea/core/error.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>
#include <fovea/tests/support/compare.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

std::string message(const std::string& text) {
  return message_of<FormatError>([&] { format_error("op", "'{}': must be a name", text); });
}

}  // namespace

TEST_CASE("errors: control characters are escaped as hexadecimal numbers") {
  CHECK(message("a\x1b[31mb") == "op: 'a\\x1B[31mb': must be a name");
  CHECK(message("\x07\r\x7f") == "op: '\\x07\\x0D\\x7F': must be a name");
  CHECK(message(std::string("\0", 1)) == "op: '\\x00': must be a name");
  CHECK(message("\xc2\x9b"
                "2J") == "op: '\\xC2\\x9B2J': must be a name");  // CSI in one code point
}

TEST_CASE("errors: other texts are unchanged") {
  for (const std::string text : {"", "a\tb\nc",
                                 "gr\xc3\xbc\xc3\x9f"
                                 "e \xc2\xa0",
                                 "\xff\xc2", "\\x1B"})
    CHECK(message(text) == "op: '" + text + "': must be a name");
}

TEST_CASE("errors: the length of a message is bounded") {
  const std::string text = message(std::string(1'000'000, 'x'));
  CHECK(text.size() < 20'000);
  CHECK(text.starts_with("op: 'xxxx"));
  CHECK(text.ends_with("x... (1000022 bytes in total)"));
  CHECK(message(std::string(1'000'000, '\x1b')).size() < 80'000);
}

TEST_CASE("errors: a malicious file name") {
  const std::string header = "{\"\\u001b]0;x\\u0007\":1}";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  CHECK(message_of<FormatError>([&] {
          SafetensorsFile::parse(bytes + header,
                                 "a\x1b"
                                 "b");
        }) == "safetensors: a\\x1Bb: '\\x1B]0;x\\x07' is not an object");
}
