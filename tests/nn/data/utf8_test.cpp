#include <fovea/nn/data/utf8.h>

#include <string>
#include <utility>

#include <doctest/doctest.h>

using namespace fovea::nn::data;

TEST_CASE("utf8: code points of one to four bytes") {
  const std::pair<std::string, char32_t> cases[] = {
      {"a", U'a'}, {"ß", U'ß'}, {"→", U'→'}, {"😀", U'😀'}};
  for (const auto& each : cases) {
    CAPTURE(each.first);
    const CodePoint point = first_code_point(each.first + "tail");
    CHECK(point.valid);
    CHECK(point.value == each.second);
    CHECK(point.size == each.first.size());
  }
  CHECK(first_code_point(std::string_view("\0x", 2)).value == 0);
}

TEST_CASE("utf8: what RFC 3629 forbids is one invalid byte") {
  for (const std::string bytes :
       {"\x80", "\xFF", "\xC3", "\xC3(", "\xE2\x86", "\xF0\x9F\x98",  // stray, lead alone, cut off
        "\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF",               // overlong
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80"}) {
    CAPTURE(bytes);
    const CodePoint point = first_code_point(bytes);
    CHECK_FALSE(point.valid);
    CHECK(point.size == 1);
    CHECK(point.value == 0xFFFD);
  }
}

TEST_CASE("utf8: the first invalid byte is found") {
  CHECK(find_invalid_utf8("") == std::string_view::npos);
  CHECK(find_invalid_utf8("grün → 😀") == std::string_view::npos);
  CHECK(find_invalid_utf8("ab\xFFz") == 2);
  CHECK(find_invalid_utf8("ß\xC3") == 2);
}
