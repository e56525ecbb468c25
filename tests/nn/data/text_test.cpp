#include <fovea/core/error.h>
#include <fovea/nn/data/gzip.h>
#include <fovea/nn/data/text.h>
#include <fovea/tests/support/compare.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <zlib.h>

#include <doctest/doctest.h>

using namespace fovea::nn::data;
using fovea::test::message_of;
namespace fs = std::filesystem;

namespace {

// A directory that is deleted after the test.
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

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string gzip(const std::string& bytes) {
  constexpr int gzip_header = 16 + MAX_WBITS, memory = 8;
  z_stream stream = {};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, gzip_header, memory, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  deflateEnd(&stream);
  return packed.substr(0, packed.size() - stream.avail_out);
}

// printf 'one\ntwo\n' | gzip -n | xxd -p, and of 'drei' and of nothing.
const std::string packed_lines =
    from_hex("1f8b0800000000000003cbcf4be52a29cfe70200e60bba1208000000");
const std::string packed_drei = from_hex("1f8b08000000000000034b294acd0400684591ee04000000");
const std::string packed_nothing = from_hex("1f8b080000000000000303000000000000000000");

}  // namespace

TEST_CASE("text: words are separated by blanks") {
  CHECK(tokenize("", Unit::words).empty());
  CHECK(tokenize(" \t \r\n\v\f", Unit::words).empty());
  CHECK(tokenize("one", Unit::words) == Tokens{"one"});
  CHECK(tokenize("  zwei  junge\tmänner \r\n", Unit::words) == Tokens{"zwei", "junge", "männer"});
  // A no-break space is an ordinary character: Moses keeps it within a token.
  CHECK(tokenize("1\xC2\xA0"
                 "000",
                 Unit::words)
            .size() == 1);
  CHECK(detokenize(Tokens{}, Unit::words).empty());
  CHECK(detokenize(Tokens{"zwei", "männer"}, Unit::words) == "zwei männer");
}

TEST_CASE("text: characters restore every line exactly") {
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
        "unit_named: 'bytes': must be one of words, characters");
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

TEST_CASE("text: missing files and directories") {
  const Folder folder;
  const std::string missing = (folder.path() / "missing.de").string();
  CHECK(message_of<fovea::Error>([&] { read_lines(missing); }) ==
        "read_file: " + missing + ": No such file or directory");
  CHECK(message_of<fovea::Error>([&] { read_lines("/dev/zero"); }) ==
        "read_file: /dev/zero is a device: must be a file, a pipe or a terminal");
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
            " has 3: must be equal, line i of one translates line i of the other");
}

TEST_CASE("text: a .gz file is decompressed") {
  const Folder folder;
  CHECK(read_lines(folder.write("a.gz", packed_lines)) == Lines{"one", "two"});
  CHECK(read_lines(folder.write("b.tsv.gz", packed_lines + packed_nothing + packed_drei)) ==
        Lines{"one", "two", "drei"});
  CHECK(read_lines(folder.write("none.gz", packed_nothing)).empty());
  // The name decides, not the bytes: other files are errors.
  const fs::path plain = folder.write("plain.txt", packed_lines);
  CHECK(message_of<fovea::FormatError>([&] { read_lines(plain); }) ==
        "read_lines: " + plain.string() + ":1: byte 2 (0x8B) is not valid UTF-8");
}

TEST_CASE("gzip: files longer than the buffer") {
  // head -c 100000 /dev/zero | tr '\0' a | gzip -9n
  const std::string packed = from_hex("1f8b0800000000000203edc13101000000c2a0aceb5fc21a1e4001" +
                                      std::string(192, '0') + "af0687fae21ba0860100");
  CHECK(gunzip(packed, "a.gz") == std::string(100'000, 'a'));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += packed_lines;
  CHECK(gunzip(many, "a.gz").size() == 8000);
}

TEST_CASE("gzip: damaged files are errors that name the file") {
  const auto message = [](const std::string& bytes) {
    return message_of<fovea::FormatError>([&] { gunzip(bytes, "a.gz"); });
  };
  CHECK(message("") == "gunzip: a.gz: truncated file");
  for (std::size_t size = 1; size < packed_lines.size(); ++size)
    CHECK(message(packed_lines.substr(0, size)) == "gunzip: a.gz: truncated file");
  CHECK(message("one two") == "gunzip: a.gz: incorrect header check");
  CHECK(message(packed_lines + "left over") == "gunzip: a.gz: incorrect header check");
  std::string wrong_sum = packed_lines;
  wrong_sum[20] = static_cast<char>(wrong_sum[20] ^ 1);  // the first byte of the checksum
  CHECK(message(wrong_sum) == "gunzip: a.gz: incorrect data check");
  std::string wrong_length = packed_lines;
  wrong_length.back() = 1;
  CHECK(message(wrong_length) == "gunzip: a.gz: incorrect length check");
}

TEST_CASE("gzip: a decompression bomb is an error") {
  // gzip -9n of zeros: 2,097,152 of them take about 2 kB, which is 1 MiB + 200 kB at most.
  CHECK(gunzip_limit(0) == 1 << 20);
  CHECK(gunzip_limit(1'000'000) == (1 << 20) + 100'000'000);
  const std::string bomb = gzip(std::string(2 << 20, '\0'));
  REQUIRE(bomb.size() < 4096);
  CHECK(message_of<fovea::FormatError>([&] { gunzip(bomb, "bomb.gz"); }) ==
        "gunzip: bomb.gz: decompresses to more than " + std::to_string(gunzip_limit(bomb.size())) +
            " bytes: must be at most 1 MiB + 100 times its size");
  // The limit is for all members together, and a text of exactly this size is read.
  const std::string half = gzip(std::string(700'000, '\0'));
  CHECK_THROWS_AS(gunzip(half + half, "two.gz"), fovea::FormatError);
  const std::string most = gzip(std::string(1 << 20, 'a'));
  CHECK(gunzip(most, "most.gz").size() == 1 << 20);
  const Folder folder;
  CHECK_THROWS_AS(read_lines(folder.write("bomb.gz", bomb)), fovea::FormatError);
}
