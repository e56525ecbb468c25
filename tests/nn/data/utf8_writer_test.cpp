#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/utf8_writer.h>

#include <vector>

#include <doctest/doctest.h>

using fovea::nn::data::Utf8Writer;

namespace {

// The outputs of each write(), then of finish().
std::vector<std::string> written(const std::vector<std::string>& pieces) {
  std::vector<std::string> out;
  Utf8Writer writer([&](const std::string& text) { out.push_back(text); });
  for (const std::string& piece : pieces) writer.write(piece);
  writer.finish();
  return out;
}

using Strings = std::vector<std::string>;
const std::string none = "\xEF\xBF\xBD";

}  // namespace

TEST_CASE("complete characters pass at once, incomplete ones wait") {
  CHECK(written({"a", "bc"}) == Strings{"a", "bc"});
  CHECK(written({"\xC3", "\xA4"}) == Strings{"ä"});
  CHECK(written({"x\xE2\x82", "\xACy"}) == Strings{"x", "€y"});
  CHECK(written({"\xF0", "\x9F", "\x98", "\x80"}) == Strings{"\U0001F600"});
  CHECK(written({}) == Strings{});
  CHECK(written({"", ""}) == Strings{});
}

TEST_CASE("invalid bytes do not wait") {
  CHECK(written({"\xFF", "a"}) == Strings{none, "a"});
  CHECK(written({"\x80"}) == Strings{none});
  CHECK(written({"\xC0", "\xAF"}) == Strings{none, none});  // overlong
  CHECK(written({"\xE0", "\x80"}) ==
        Strings{none + none});                           // overlong: detected at the second byte
  CHECK(written({"\xED\xA0"}) == Strings{none + none});  // half of a surrogate
  CHECK(written({"\xF5"}) == Strings{none});             // above U+10FFFF
  CHECK(written({"\xC3", "a"}) == Strings{none + "a"});
  CHECK(written({"\xE2\x82", "\xC3", "\xA4"}) == Strings{none + none, "ä"});
}

TEST_CASE("incomplete bytes at the end become U+FFFD") {
  CHECK(written({"a\xC3"}) == Strings{"a", none});
  CHECK(written({"\xF0\x9F\x98"}) == Strings{none + none + none});
}

TEST_CASE("any bytes give valid UTF-8, the same for any split into chunks") {
  std::uint32_t state = 7;
  const auto random = [&] { return (state = state * 1664525 + 1013904223) >> 16; };
  const std::string alphabet = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\xFF\xC0";
  for (int trial = 0; trial < 500; ++trial) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) bytes += alphabet[random() % alphabet.size()];
    Strings pieces{""};
    for (const char byte : bytes) {
      if (random() % 2 == 0) pieces.emplace_back();
      pieces.back() += byte;
    }
    std::string in_pieces, at_once;
    for (const std::string& text : written(pieces)) {
      CHECK(fovea::nn::data::find_invalid_utf8(text) == std::string::npos);
      in_pieces += text;
    }
    for (const std::string& text : written({bytes})) at_once += text;
    CHECK(in_pieces == at_once);
  }
}
