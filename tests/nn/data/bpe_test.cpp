#include <fovea/core/error.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/tests/support/skip.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn::data;
namespace fs = std::filesystem;

namespace {

std::string spaced(const Tokens& pieces) { return detokenize(pieces, Unit::words); }

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void check_has(const std::string& message, const std::string& text) {
  INFO(message);
  CHECK(message.find(text) != std::string::npos);
}

// Reference implementation: count all pairs, merge the best everywhere, repeat.
std::vector<SubwordNmtBpe::Merge> learn_slowly(const Lines& lines, std::size_t merges) {
  std::map<Tokens, std::int64_t> words;
  for (const std::string& line : lines)
    for (const std::string& word : tokenize(line, Unit::words)) {
      Tokens symbols = tokenize(word, Unit::characters);
      symbols.back() += "</w>";
      ++words[symbols];
    }
  std::vector<SubwordNmtBpe::Merge> learned;
  while (learned.size() < merges) {
    std::map<SubwordNmtBpe::Merge, std::int64_t> counts;
    for (const auto& [symbols, count] : words)
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
        counts[{symbols[i], symbols[i + 1]}] += count;
    SubwordNmtBpe::Merge best;
    std::int64_t most = 1;  // pairs that come once are no pattern
    for (const auto& [pair, count] : counts)
      if (count > 1 && count >= most) best = pair, most = count;  // the map ascends: ties go up
    if (most < 2) break;
    learned.push_back(best);
    std::map<Tokens, std::int64_t> merged;
    for (const auto& [symbols, count] : words) {
      Tokens now;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        const bool here =
            i + 1 < symbols.size() && symbols[i] == best.first && symbols[i + 1] == best.second;
        now.push_back(here ? symbols[i] + symbols[i + 1] : symbols[i]);
        i += here ? 1 : 0;
      }
      merged[now] += count;
    }
    words = std::move(merged);
  }
  return learned;
}

// Reference of encode_word: while a rule matches, apply the first such rule everywhere.
Tokens encode_slowly(const std::vector<SubwordNmtBpe::Merge>& merges, const std::string& word) {
  Tokens pieces = tokenize(word, Unit::characters);
  pieces.back() += "</w>";
  for (std::size_t rank = 0; rank < merges.size();) {
    bool joined = false;
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
      if (pieces[i] == merges[rank].first && pieces[i + 1] == merges[rank].second) {
        pieces[i] += pieces[i + 1];
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        joined = true;
      }
    rank = joined ? 0 : rank + 1;
  }
  pieces.back().resize(pieces.back().size() - 4);
  for (std::size_t i = 0; i + 1 < pieces.size(); ++i) pieces[i] += "@@";
  return pieces;
}

// Random integers below n, the same on every platform.
class Draw {
 public:
  std::uint32_t operator()(std::uint32_t n) {
    state_ = state_ * 1664525u + 1013904223u;
    return (state_ >> 16) % n;
  }
  std::string word(std::uint32_t letters, std::size_t length) {
    std::string text;
    while (text.size() < length)
      text += static_cast<char>('a' + static_cast<char>((*this)(letters)));
    return text;
  }

 private:
  std::uint32_t state_ = 7;
};

}  // namespace

TEST_CASE("the example of the paper: low, lower, newest, widest") {
  // Sennrich et al. 2016, figure 1: with these counts the first merges are es, est, est</w>, lo,
  // low (in the paper </w> is a separate piece; here it belongs to the last character).
  const auto times = [](int n, const std::string& word) {
    std::string line;
    for (int i = 0; i < n; ++i) line += word + " ";
    return line;
  };
  const Lines text = {times(5, "low"), times(2, "lower"), times(6, "newest"), times(3, "widest")};
  const SubwordNmtBpe bpe = SubwordNmtBpe::learn(std::vector<Lines>{text}, 4);
  // Nine times each: "s t</w>" and "e s"; the greater one is "s t</w>".
  CHECK(bpe.merges() == std::vector<SubwordNmtBpe::Merge>{
                            {"s", "t</w>"}, {"e", "st</w>"}, {"l", "o"}, {"w", "est</w>"}});
  CHECK(spaced(bpe.encode("lowest")) == "lo@@ west");
  CHECK(spaced(bpe.encode("low west")) == "lo@@ w west");
}

TEST_CASE("the first rule that matches a word is applied everywhere in it, from the left") {
  const SubwordNmtBpe bpe({{"a", "a"}, {"aa", "b</w>"}, {"a", "b</w>"}});
  CHECK(spaced(bpe.encode("aaab")) == "aa@@ ab");
  CHECK(spaced(bpe.encode("aab")) == "aab");
  CHECK(spaced(bpe.encode("aaaa")) == "aa@@ a@@ a");  // the last a is "a</w>", another symbol
  CHECK(spaced(bpe.encode("b")) == "b");
  CHECK(spaced(bpe.encode("ba")) == "b@@ a");
}

TEST_CASE("an earlier rule wins at any position in the word") {
  const SubwordNmtBpe bpe({{"b", "c</w>"}, {"a", "b"}});
  CHECK(spaced(bpe.encode("abc")) == "a@@ bc");
  CHECK(spaced(bpe.encode("abd")) == "ab@@ d");
}

TEST_CASE("without merges every character is a piece, also beyond ASCII") {
  CHECK(spaced(SubwordNmtBpe().encode("ab c")) == "a@@ b c");
  CHECK(spaced(SubwordNmtBpe().encode("größe 😀x")) == "g@@ r@@ ö@@ ß@@ e 😀@@ x");
  CHECK(SubwordNmtBpe().encode("").empty());
  CHECK(SubwordNmtBpe().encode(" \t ").empty());
  CHECK(SubwordNmtBpe().encode_word("").empty());
}

TEST_CASE("a rule with characters beyond ASCII") {
  const SubwordNmtBpe bpe =
      SubwordNmtBpe::learn(std::vector<Lines>{{"größe größer", "größte"}}, 100);
  CHECK(spaced(bpe.encode("größe")) == "größ@@ e");
}

TEST_CASE("join() restores the line") {
  const SubwordNmtBpe bpe =
      SubwordNmtBpe::learn(std::vector<Lines>{{"ein hund und eine hündin", "ein mund"}}, 10);
  for (const std::string line :
       {"ein hund und eine hündin", "unbekannte wörter : \xFF\xFE 😀", "x", "", "@ a@b @@@x"})
    CHECK(SubwordNmtBpe::join(bpe.encode(line)) == line);
  CHECK(SubwordNmtBpe::join(bpe.encode("  zwei   blanks ")) == "zwei blanks");
  CHECK(SubwordNmtBpe::join(std::vector<std::string>{"ab@@", "c", "d@@"}) == "abc d");
  CHECK(SubwordNmtBpe::join({}).empty());
}

TEST_CASE("a codes file is read as it was written") {
  const SubwordNmtBpe bpe =
      SubwordNmtBpe::learn(std::vector<Lines>{{"aba abab ababa bab 'ö ö'ö"}}, 50);
  REQUIRE(bpe.merges().size() > 3);
  CHECK(bpe.str().starts_with("#version: 0.2\n"));
  CHECK(SubwordNmtBpe::parse(bpe.str(), "codes").merges() == bpe.merges());
  CHECK(SubwordNmtBpe::parse("#version: 0.2\r\na b\r\nab c</w>", "codes").merges() ==
        std::vector<SubwordNmtBpe::Merge>{{"a", "b"}, {"ab", "c</w>"}});
}

TEST_CASE("a duplicate pair has its first rank") {
  const SubwordNmtBpe bpe = SubwordNmtBpe::parse("#version: 0.2\na b\nb c\na b\n", "codes");
  CHECK(spaced(bpe.encode("abcd")) == "ab@@ c@@ d");
  CHECK(bpe.merges().size() == 3);
}

TEST_CASE("errors in a codes file name the line") {
  const auto parse = [](const std::string& text) {
    return message_of([&] { SubwordNmtBpe::parse(text, "my.codes"); });
  };
  check_has(parse(""), "my.codes: 0 merges: must be at least 1");
  check_has(parse("#version: 0.2\n"), "my.codes: 0 merges: must be at least 1");
  check_has(parse("a b\n"), "my.codes:1: 'a b': must be '#version: 0.2'");
  check_has(parse("#version: 0.1\na b\n"), "my.codes:1: '#version: 0.1'");
  check_has(parse("#version: 0.2\na b\nabc\n"), "my.codes:3: 'abc': must be two pieces");
  check_has(parse("#version: 0.2\na b c\n"), "my.codes:2: 'a b c': must be two pieces");
  check_has(parse("#version: 0.2\na b\n\nc d\n"), "my.codes:3: '': must be two pieces");
  check_has(parse("#version: 0.2\na \xFF\n"), "my.codes:2: not valid UTF-8");
  check_has(message_of([] { SubwordNmtBpe::read("nowhere.codes"); }), "nowhere.codes");
  check_has(message_of([] {
              SubwordNmtBpe(std::vector<SubwordNmtBpe::Merge>{{"a", ""}});
            }),
            "piece '': must not be empty");
  check_has(message_of([] {
              SubwordNmtBpe(std::vector<SubwordNmtBpe::Merge>{{"a b", "c"}});
            }),
            "piece 'a b': must not contain blanks");
}

TEST_CASE("learning: valid and invalid arguments") {
  const auto learn = [](std::int64_t merges, std::int64_t min_count) {
    return SubwordNmtBpe::learn(std::vector<Lines>{{"ab ab ab", "cd cd"}, {"ef"}}, merges,
                                min_count)
        .merges();
  };
  CHECK(learn(0, 2).empty());
  CHECK(learn(1, 2) == std::vector<SubwordNmtBpe::Merge>{{"a", "b</w>"}});
  CHECK(learn(10, 2) == std::vector<SubwordNmtBpe::Merge>{{"a", "b</w>"}, {"c", "d</w>"}});
  CHECK(learn(10, 1).size() == 3);
  CHECK(learn(10, 4).empty());
  CHECK(SubwordNmtBpe::learn({}, 10).merges().empty());
  CHECK(SubwordNmtBpe::learn(std::vector<Lines>{{"", "  "}}, 10).merges().empty());
  check_has(message_of([&] { learn(-1, 2); }), "-1 merges: must not be negative");
  check_has(message_of([&] { learn(1, 0); }), "min_count = 0: must be at least 1");
}

TEST_CASE("texts are counted together") {
  const Lines first = {"ab ab cd"}, second = {"cd cd"};
  CHECK(SubwordNmtBpe::learn(std::vector<Lines>{first, second}, 1).merges() ==
        std::vector<SubwordNmtBpe::Merge>{{"c", "d</w>"}});
}

TEST_CASE("the fast learner equals recounting after every merge") {
  // Two letters only: words such as aaabaab have overlapping pairs, pieces merged in several ways,
  // and many ties.
  Draw draw;
  for (const std::uint32_t letters : {1u, 2u, 4u}) {
    Lines lines;
    for (int i = 0; i < 40; ++i) {
      std::string line;
      for (int w = 0; w < 6; ++w) line += draw.word(letters, 1 + draw(9)) + ' ';
      lines.push_back(line);
    }
    const std::vector<SubwordNmtBpe::Merge> slow = learn_slowly(lines, 400);
    CHECK(slow.size() > (letters == 1 ? 5u : 60u));
    CHECK(SubwordNmtBpe::learn(std::vector<Lines>{lines}, 400).merges() == slow);
  }
}

TEST_CASE("encode_word equals its definition for any order of the rules") {
  Draw draw;
  for (int round = 0; round < 300; ++round) {
    // Rules in random order: a rule may precede those that create its pieces.
    std::vector<SubwordNmtBpe::Merge> merges;
    for (std::uint32_t n = 1 + draw(12); n > 0; --n)
      merges.emplace_back(draw.word(2, 1 + draw(3)),
                          draw.word(2, 1 + draw(3)) + (draw(3) == 0 ? "</w>" : ""));
    const SubwordNmtBpe bpe(merges);
    for (int i = 0; i < 5; ++i) {
      const std::string word = draw.word(2, 1 + draw(30));
      CHECK(bpe.encode_word(word) == encode_slowly(merges, word));
    }
  }
}

TEST_CASE("a word of a million characters") {
  // A quadratic algorithm would take hours.
  Draw draw;
  const std::string word = draw.word(4, 1'000'000);
  const SubwordNmtBpe bpe = SubwordNmtBpe::learn(std::vector<Lines>{{word}}, 2'000);
  REQUIRE(bpe.merges().size() == 2'000);
  const Tokens pieces = bpe.encode_word(word);
  CHECK(pieces.size() < word.size() / 3);
  CHECK(SubwordNmtBpe::join(pieces) == word);
  // Far from the end, the pieces of a prefix equal those of the whole.
  const Tokens slow = encode_slowly(bpe.merges(), word.substr(0, 400));
  REQUIRE(slow.size() > 60);
  CHECK(std::equal(pieces.begin(), pieces.begin() + 40, slow.begin()));
}

TEST_CASE("subword-nmt's own codes and text: Multi30k") {
  const char* data = std::getenv("FOVEA_DATA");
  if (!data) return test::skip("FOVEA_DATA is not set");
  const fs::path folder = fs::path(data) / "multi30k";
  const SubwordNmtBpe bpe = SubwordNmtBpe::read(folder / "bpe10k.en-de.codes");
  REQUIRE(bpe.merges().size() == 10'000);
  std::size_t lines = 0;
  for (const std::string language : {"en", "de"}) {
    const Lines text = read_lines(folder / ("val.lc.norm.tok." + language));
    const Lines wanted = read_lines(folder / ("bpe10k.expected.val." + language));
    REQUIRE(text.size() == wanted.size());
    for (std::size_t i = 0; i < text.size(); ++i, ++lines) {
      const Tokens pieces = bpe.encode(text[i]);
      REQUIRE(spaced(pieces) == spaced(tokenize(wanted[i], Unit::words)));
      REQUIRE(SubwordNmtBpe::join(pieces) == spaced(tokenize(text[i], Unit::words)));
    }
  }
  CHECK(lines == 2'028);

  const std::vector<Lines> train = {read_lines(folder / "train.lc.norm.tok.en"),
                                    read_lines(folder / "train.lc.norm.tok.de")};
  const std::vector<SubwordNmtBpe::Merge> learned = SubwordNmtBpe::learn(train, 10'000).merges();
  REQUIRE(learned.size() == 10'000);
  std::size_t equal = 0;
  while (equal < learned.size() && learned[equal] == bpe.merges()[equal]) ++equal;
  MESSAGE("merges equal to subword-nmt's: the first ", equal);
  CHECK(equal == 10'000);
}
