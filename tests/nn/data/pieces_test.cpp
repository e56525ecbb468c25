#include <fovea/nn/data/pieces.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/skip.h>

#include <cstdlib>
#include <cstring>

#include <doctest/doctest.h>

using namespace fovea;
using fovea::nn::data::Ids;
using fovea::nn::data::SentencePieceBpe;
using test::message_of;

namespace {

constexpr std::int64_t first_byte = 3, first_piece = 3 + 256;

// The three special pieces, the bytes, and then: 259 " ", 260 "a", 261 "b", 262 "c", 263 "ä", and
// `more`.
SentencePieceBpe pieces_with(const std::vector<SentencePieceBpe::Piece>& more) {
  std::vector<SentencePieceBpe::Piece> all{{"<unk>"}, {"<s>"}, {"</s>"}};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    all.push_back({text});
  }
  for (const char* letter : {" ", "a", "b", "c", "ä"}) all.push_back({letter, -10});
  all.insert(all.end(), more.begin(), more.end());
  return SentencePieceBpe(std::move(all));
}

constexpr std::int64_t blank = first_piece, a = blank + 1, b = a + 1, c = b + 1, umlaut = c + 1,
                       more = umlaut + 1;

std::string number(std::uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}
std::string entry(float score, const std::string& text) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &score, 4);
  return number(bits) + number(static_cast<std::uint32_t>(text.size())) + text;
}

}  // namespace

TEST_CASE("characters without a piece become bytes") {
  const SentencePieceBpe pieces = pieces_with({});
  CHECK(pieces.encode("") == Ids{});
  CHECK(pieces.encode("aä") == Ids{blank, a, umlaut});
  CHECK(pieces.encode("é") == Ids{blank, first_byte + 0xC3, first_byte + 0xA9});
  CHECK(pieces.encode("\xFF\n") == Ids{blank, first_byte + 0xFF, first_byte + 0x0A});
  const SentencePieceBpe no_bytes({{"<unk>"}, {"<s>"}, {"</s>"}, {" "}, {"x"}});
  CHECK(no_bytes.encode("xy") == Ids{3, 4, SentencePieceBpe::unk});
}

TEST_CASE("text such as \"<0x0A>\" is not a byte") {
  const SentencePieceBpe pieces = pieces_with({{"<", -1},
                                               {"0", -1},
                                               {"x", -1},
                                               {"A", -1},
                                               {">", -1},
                                               {"<0", -1},
                                               {"<0x", -1},
                                               {"<0x0", -1},
                                               {"<0x0A", -1}});
  CHECK(pieces.decode(pieces.encode("<0x0A>")) == "<0x0A>");
  CHECK(pieces.decode(pieces.encode("\n")) == "\n");
}

TEST_CASE("the best score is merged first, ties from the left") {
  // "ab" before "bc": it leaves "c" of " abc", which "abc" can still merge.
  const SentencePieceBpe better_ab = pieces_with({{"ab", -1}, {"bc", -2}});
  CHECK(better_ab.encode("abc") == Ids{blank, more, c});
  const SentencePieceBpe better_bc = pieces_with({{"ab", -2}, {"bc", -1}});
  CHECK(better_bc.encode("abc") == Ids{blank, a, more + 1});
  const SentencePieceBpe equal = pieces_with({{"aa", -1}});
  CHECK(equal.encode("aaa") == Ids{blank, more, a});
  CHECK(equal.encode("aaaa") == Ids{blank, more, more});
  const SentencePieceBpe chain = pieces_with({{"ab", -3}, {"abc", -1}, {" abc", -2}});
  CHECK(chain.encode("abc") == Ids{more + 2});
  CHECK(chain.encode("abcabc") == Ids{more + 2, more + 1});
  // A new pair with a better score is merged before older pairs.
  const SentencePieceBpe late = pieces_with({{"ab", -1}, {"ca", -5}, {"abc", -2}});
  CHECK(late.encode("abca") == Ids{blank, more + 2, a});
}

TEST_CASE("the heap merges like repeated search over all pairs") {
  const SentencePieceBpe pieces = pieces_with({{"ab", -4},
                                               {"ba", -4},
                                               {"aa", -6},
                                               {"aba", -3},
                                               {"abab", -7},
                                               {"cab", -1},
                                               {" a", -5},
                                               {"bb", -2},
                                               {"bba", -8},
                                               {"cc", -4},
                                               {"ccc", -3},
                                               {"aab", -2}});
  const auto score = [](const std::string& text) {
    const std::vector<std::pair<std::string, float>> scores{
        {"ab", -4}, {"ba", -4}, {"aa", -6},  {"aba", -3}, {"abab", -7}, {"cab", -1},
        {" a", -5}, {"bb", -2}, {"bba", -8}, {"cc", -4},  {"ccc", -3},  {"aab", -2}};
    for (const auto& [known, s] : scores)
      if (known == text) return s;
    return -1e10f;
  };
  std::uint32_t state = 1;
  for (int trial = 0; trial < 300; ++trial) {
    std::string text;
    for (int i = 0; i < 1 + trial % 23; ++i) {
      state = state * 1664525 + 1013904223;
      text += "aabbc"[(state >> 20) % 5];
    }
    std::vector<std::string> parts{" "};
    for (const char letter : text) parts.emplace_back(1, letter);
    for (;;) {
      std::size_t best = parts.size();
      float best_score = -1e10f;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i)
        if (score(parts[i] + parts[i + 1]) > best_score) {
          best = i;
          best_score = score(parts[i] + parts[i + 1]);
        }
      if (best == parts.size()) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<std::string> found;
    for (const std::int64_t id : pieces.encode(text)) found.push_back(pieces.piece(id));
    CAPTURE(text);
    CHECK(found == parts);
  }
}

TEST_CASE("decode(encode()) restores any bytes") {
  const SentencePieceBpe pieces = pieces_with({{"ab", -1}, {" a", -2}, {" ab", -3}});
  for (const std::string text : {"", "ab", " ab", "  a b", "naïve 日本語 \U0001F600",
                                 "\xFF\xFE\xC3", "line\nline\r\n\ttab", "<0x41> <s> </s> <unk>"}) {
    CAPTURE(text);
    CHECK(pieces.decode(pieces.encode(text)) == text);
  }
  const std::string with_zero("a\0b", 3);
  CHECK(pieces.decode(pieces.encode(with_zero)) == with_zero);
  CHECK(pieces.bytes_of(first_byte + 0x41) == "A");
  CHECK(pieces.bytes_of(SentencePieceBpe::bos) == "");
  CHECK(pieces.bytes_of(SentencePieceBpe::unk) == "<unk>");
  CHECK(pieces.decode(Ids{SentencePieceBpe::bos, blank, a, SentencePieceBpe::eos}) == "a");
}

TEST_CASE("byte pieces are never merged") {
  // The byte 0xC3 is the piece "<0xC3>", and a text may contain these characters too.
  const SentencePieceBpe pieces = pieces_with({{"<0xC3>a", -1}, {"<unk>a", -1}});
  CHECK(pieces.encode("\xC3"
                      "a") == Ids{blank, first_byte + 0xC3, a});
  CHECK(pieces.decode(pieces.encode("\xC3"
                                    "a")) ==
        "\xC3"
        "a");
  const SentencePieceBpe no_bytes({{"<unk>"}, {"<s>"}, {"</s>"}, {" "}, {"x"}, {"<unk>x"}});
  CHECK(no_bytes.encode("yx") == Ids{3, SentencePieceBpe::unk, 4});
}

TEST_CASE("a file, and invalid files") {
  const std::string good = number(5) + entry(0, "<unk>") + entry(0, "<s>") + entry(0, "</s>") +
                           entry(-1, " ") + entry(-2.5f, "x");
  const SentencePieceBpe pieces = SentencePieceBpe::parse(good, "memory");
  CHECK(pieces.size() == 5);
  CHECK(pieces.piece(4) == "x");
  CHECK(pieces.encode("x") == Ids{3, 4});
  const auto message = [](const std::string& bytes) {
    return message_of<FormatError>([&] { SentencePieceBpe::parse(bytes, "tok.bin"); });
  };
  CHECK(message(good.substr(0, good.size() - 1)) ==
        "SentencePieceBpe: tok.bin: piece 4: truncated, 1 bytes required, 0 left");
  CHECK(message(good + "ab") ==
        "SentencePieceBpe: tok.bin: piece 5: truncated, 4 bytes required, 2 left");
  CHECK(message(good + entry(0, "")) ==
        "SentencePieceBpe: tok.bin: piece 5 has 0 bytes: must have 1 to "
        "65536");
  CHECK(message("") == "SentencePieceBpe: tok.bin: piece 0: truncated, 4 bytes required, 0 left");
  CHECK(message(number(5)) ==
        "SentencePieceBpe: tok.bin: 0 pieces: must include <unk>, <bos> and <eos>");
  CHECK(message(number(5) + number(0) + number(0xFFFFFFFF)) ==
        "SentencePieceBpe: tok.bin: piece 0 has 4294967295 bytes: must have 1 to 65536");
  CHECK(message_of<ValueError>([] {
          SentencePieceBpe({{"a"}, {"b"}});
        }) == "SentencePieceBpe: 2 pieces: must include <unk>, <bos> and <eos>");
  CHECK(message_of<ValueError>([] {
          SentencePieceBpe({{"a"}, {"b"}, {"c"}, {""}});
        }) == "SentencePieceBpe: text of piece 3: must not be empty");
  const float no_number = std::numeric_limits<float>::quiet_NaN();
  CHECK(message(good + entry(no_number, "y")) ==
        "SentencePieceBpe: tok.bin: piece 5: score = nan: must not be NaN");
  CHECK(message_of<ValueError>([&] {
          SentencePieceBpe({{"a"}, {"b"}, {"c"}, {"d", no_number}});
        }) == "SentencePieceBpe: piece 3: score = nan: must not be NaN");
  CHECK(message_of<IndexError>([&] { pieces.piece(5); }) ==
        "SentencePieceBpe: id = 5: must be in [0, 5)");
  CHECK_THROWS_AS(pieces.bytes_of(-1), IndexError);
}

TEST_CASE("a real tokenizer equals llama2.c") {
  const char* folder = std::getenv("FOVEA_DATA");
  if (!folder) return test::skip("FOVEA_DATA is not set");
  const SentencePieceBpe pieces =
      SentencePieceBpe::read(std::string(folder) + "/checkpoints/tok512.bin");
  CHECK(pieces.size() == 512);
  CHECK(pieces.encode("Once upon a time") == Ids{403, 407, 261, 378});
  for (const std::string text : {"Once upon a time, \"Lily\" said: it's £5!\n", "日本"})
    CHECK(pieces.decode(pieces.encode(text)) == text);
}
