#include <fovea/core/error.h>
#include <fovea/nn/data/text.h>
#include <fovea/tests/support/compare.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

using namespace fovea::nn::data;
using fovea::test::message_of;
namespace fs = std::filesystem;

namespace {

// A folder that is gone when the test is over.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "fovea_text_").string();
    name.append(6, 'X');  // mkdtemp fills them in
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

Lines lines_of(const std::string& bytes, Utf8 utf8 = Utf8::strict) {
  std::istringstream in(bytes);
  return read_lines(in, "text", utf8);
}

}  // namespace

TEST_CASE("text: words are what runs of blanks separate") {
  CHECK(tokenize("", Unit::words).empty());
  CHECK(tokenize(" \t \r\n\v\f", Unit::words).empty());
  CHECK(tokenize("one", Unit::words) == Tokens{"one"});
  CHECK(tokenize("  zwei  junge\tmänner \r\n", Unit::words) == Tokens{"zwei", "junge", "männer"});
  // A no-break space is a character like any other: Moses keeps it within a token.
  CHECK(tokenize("1\xC2\xA0"
                 "000",
                 Unit::words)
            .size() == 1);
  CHECK(detokenize(Tokens{}, Unit::words).empty());
  CHECK(detokenize(Tokens{"zwei", "männer"}, Unit::words) == "zwei männer");
}

TEST_CASE("text: characters give every line back byte for byte") {
  CHECK(tokenize("a ß→😀", Unit::characters) == Tokens{"a", " ", "ß", "→", "😀"});
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  for (const std::string& line : {std::string(), std::string("  x "), std::string("e\xCC\x81"),
                                  std::string("\xE2\x86 cut \xC3"), every_byte}) {
    const Tokens characters = tokenize(line, Unit::characters);
    CHECK(detokenize(characters, Unit::characters) == line);
  }
  CHECK(tokenize("\xE2\x86z", Unit::characters) == Tokens{"\xE2", "\x86", "z"});
}

TEST_CASE("text: units have names") {
  CHECK(unit_named("words") == Unit::words);
  CHECK(unit_named(unit_name(Unit::characters)) == Unit::characters);
  CHECK(message_of<fovea::ValueError>([] { unit_named("bytes"); }) ==
        "unit_named: 'bytes' is neither words nor characters");
}

TEST_CASE("text: line ends, empty lines and a byte order mark") {
  CHECK(lines_of("").empty());
  CHECK(lines_of("\n") == Lines{""});
  CHECK(lines_of("a\nb") == Lines{"a", "b"});
  CHECK(lines_of("a\r\n\r\nb\r\n") == Lines{"a", "", "b"});
  CHECK(lines_of("a\rb\n") == Lines{"a\rb"});
  CHECK(lines_of("\xEF\xBB\xBFx\n\xEF\xBB\xBFy\n") == Lines{"x", "\xEF\xBB\xBFy"});
  CHECK(lines_of(std::string("a\0b\n", 4)) == Lines{std::string("a\0b", 3)});
}

TEST_CASE("text: invalid UTF-8 is an error that names the line, or passes") {
  CHECK(message_of<fovea::FormatError>([] { lines_of("fine\nno\xC3way\n"); }) ==
        "read_lines: text:2: byte 3 (0xC3) is not valid UTF-8");
  CHECK(lines_of("no\xC3way\n", Utf8::lenient) == Lines{"no\xC3way"});
}

TEST_CASE("text: files that are not there, or are folders") {
  const Folder folder;
  const std::string missing = (folder.path() / "missing.de").string();
  CHECK(message_of<fovea::Error>([&] { read_lines(missing); }) ==
        "read_file: " + missing + ": No such file or directory");
  CHECK(message_of<fovea::Error>([&] { read_lines(folder.path()); }) ==
        "read_file: " + folder.path().string() + ": Is a directory");
  const fs::path bad = folder.write("bad.en", "\xFF\n");
  CHECK(message_of<fovea::FormatError>([&] { read_lines(bad); }) ==
        "read_lines: " + bad.string() + ":1: byte 1 (0xFF) is not valid UTF-8");
}

TEST_CASE("text: a parallel text has equally many lines on both sides") {
  const Folder folder;
  const fs::path de = folder.write("x.de", "eins\r\nzwei\r\n"),
                 en = folder.write("x.en", "one\ntwo");
  const ParallelText text = read_parallel(de, en);
  CHECK(text.size() == 2);
  CHECK(text.source == Lines{"eins", "zwei"});
  CHECK(text.target == Lines{"one", "two"});

  const fs::path longer = folder.write("y.en", "one\ntwo\n\n");
  CHECK(message_of<fovea::FormatError>([&] { read_parallel(de, longer); }) ==
        "read_parallel: " + de.string() + " has 2 lines and " + longer.string() +
            " has 3: line i of one must translate line i of the other");
}
