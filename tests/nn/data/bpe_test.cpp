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

// The definition, without bookkeeping: count all pairs, merge the best everywhere, count again.
std::vector<Bpe::Merge> learn_slowly(const Lines& lines, std::size_t merges) {
  std::map<Tokens, std::int64_t> words;
  for (const std::string& line : lines)
    for (const std::string& word : tokenize(line, Unit::words)) {
      Tokens symbols = tokenize(word, Unit::characters);
      symbols.back() += "</w>";
      ++words[symbols];
    }
  std::vector<Bpe::Merge> learned;
  while (learned.size() < merges) {
    std::map<Bpe::Merge, std::int64_t> counts;
    for (const auto& [symbols, count] : words)
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
        counts[{symbols[i], symbols[i + 1]}] += count;
    Bpe::Merge best;
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

// The definition of encode_word: as long as one occurs, join every place of the earliest rule.
Tokens encode_slowly(const std::vector<Bpe::Merge>& merges, const std::string& word) {
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

// Numbers below n, the same on every platform.
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
  // low (the paper's own end-of-word is a piece of its own; here it belongs to the last character).
  const auto times = [](int n, const std::string& word) {
    std::string line;
    for (int i = 0; i < n; ++i) line += word + " ";
    return line;
  };
  const Lines text = {times(5, "low"), times(2, "lower"), times(6, "newest"), times(3, "widest")};
  const Bpe bpe = Bpe::learn(std::vector<Lines>{text}, 4);
  // Nine times each: "s t</w>" and "e s"; the greater one is "s t</w>".
  CHECK(bpe.merges() ==
        std::vector<Bpe::Merge>{{"s", "t</w>"}, {"e", "st</w>"}, {"l", "o"}, {"w", "est</w>"}});
  CHECK(spaced(bpe.encode("lowest")) == "lo@@ west");
  CHECK(spaced(bpe.encode("low west")) == "lo@@ w west");
}

TEST_CASE("the first rule that fits a word is used at all its places, from the left") {
  const Bpe bpe({{"a", "a"}, {"aa", "b</w>"}, {"a", "b</w>"}});
  CHECK(spaced(bpe.encode("aaab")) == "aa@@ ab");
  CHECK(spaced(bpe.encode("aab")) == "aab");
  CHECK(spaced(bpe.encode("aaaa")) == "aa@@ a@@ a");  // the last a is "a</w>", another symbol
  CHECK(spaced(bpe.encode("b")) == "b");
  CHECK(spaced(bpe.encode("ba")) == "b@@ a");
}

TEST_CASE("an earlier rule wins wherever it stands in the word") {
  const Bpe bpe({{"b", "c</w>"}, {"a", "b"}});
  CHECK(spaced(bpe.encode("abc")) == "a@@ bc");
  CHECK(spaced(bpe.encode("abd")) == "ab@@ d");
}

TEST_CASE("without merges every character is a piece, also beyond ASCII") {
  CHECK(spaced(Bpe().encode("ab c")) == "a@@ b c");
  CHECK(spaced(Bpe().encode("größe 😀x")) == "g@@ r@@ ö@@ ß@@ e 😀@@ x");
  CHECK(Bpe().encode("").empty());
  CHECK(Bpe().encode(" \t ").empty());
  CHECK(Bpe().encode_word("").empty());
}

TEST_CASE("a rule with characters beyond ASCII") {
  const Bpe bpe = Bpe::learn(std::vector<Lines>{{"größe größer", "größte"}}, 100);
  CHECK(spaced(bpe.encode("größe")) == "größ@@ e");
}

TEST_CASE("joining gives the line back") {
  const Bpe bpe = Bpe::learn(std::vector<Lines>{{"ein hund und eine hündin", "ein mund"}}, 10);
  for (const std::string line :
       {"ein hund und eine hündin", "unbekannte wörter : \xFF\xFE 😀", "x", "", "@ a@b @@@x"})
    CHECK(Bpe::join(bpe.encode(line)) == line);
  CHECK(Bpe::join(bpe.encode("  zwei   blanks ")) == "zwei blanks");
  CHECK(Bpe::join(std::vector<std::string>{"ab@@", "c", "d@@"}) == "abc d");
  CHECK(Bpe::join({}).empty());
}

TEST_CASE("a codes file is read as it was written") {
  const Bpe bpe = Bpe::learn(std::vector<Lines>{{"aba abab ababa bab 'ö ö'ö"}}, 50);
  REQUIRE(bpe.merges().size() > 3);
  CHECK(bpe.str().starts_with("#version: 0.2\n"));
  CHECK(Bpe::parse(bpe.str(), "codes").merges() == bpe.merges());
  CHECK(Bpe::parse("#version: 0.2\r\na b\r\nab c</w>", "codes").merges() ==
        std::vector<Bpe::Merge>{{"a", "b"}, {"ab", "c</w>"}});
}

TEST_CASE("a pair that stands twice counts where it stands first") {
  const Bpe bpe = Bpe::parse("#version: 0.2\na b\nb c\na b\n", "codes");
  CHECK(spaced(bpe.encode("abcd")) == "ab@@ c@@ d");
  CHECK(bpe.merges().size() == 3);
}

TEST_CASE("what is wrong with a codes file is said with its line") {
  const auto parse = [](const std::string& text) {
    return message_of([&] { Bpe::parse(text, "my.codes"); });
  };
  check_has(parse(""), "my.codes: there are no merges in it");
  check_has(parse("#version: 0.2\n"), "my.codes: there are no merges in it");
  check_has(parse("a b\n"), "my.codes:1: 'a b' where '#version: 0.2' must stand");
  check_has(parse("#version: 0.1\na b\n"), "my.codes:1: '#version: 0.1'");
  check_has(parse("#version: 0.2\na b\nabc\n"), "my.codes:3: 'abc' is not two pieces");
  check_has(parse("#version: 0.2\na b c\n"), "my.codes:2: 'a b c' is not two pieces");
  check_has(parse("#version: 0.2\na b\n\nc d\n"), "my.codes:3: '' is not two pieces");
  check_has(parse("#version: 0.2\na \xFF\n"), "my.codes:2: not valid UTF-8");
  check_has(message_of([] { Bpe::read("nowhere.codes"); }), "nowhere.codes");
  check_has(message_of([] { Bpe(std::vector<Bpe::Merge>{{"a", ""}}); }), "the piece '' is empty");
  check_has(message_of([] {
              Bpe(std::vector<Bpe::Merge>{{"a b", "c"}});
            }),
            "the piece 'a b' is not free of blanks");
}

TEST_CASE("learning: what it is given, and what it refuses") {
  const auto learn = [](std::int64_t merges, std::int64_t min_count) {
    return Bpe::learn(std::vector<Lines>{{"ab ab ab", "cd cd"}, {"ef"}}, merges, min_count)
        .merges();
  };
  CHECK(learn(0, 2).empty());
  CHECK(learn(1, 2) == std::vector<Bpe::Merge>{{"a", "b</w>"}});
  CHECK(learn(10, 2) == std::vector<Bpe::Merge>{{"a", "b</w>"}, {"c", "d</w>"}});
  CHECK(learn(10, 1).size() == 3);
  CHECK(learn(10, 4).empty());
  CHECK(Bpe::learn({}, 10).merges().empty());
  CHECK(Bpe::learn(std::vector<Lines>{{"", "  "}}, 10).merges().empty());
  check_has(message_of([&] { learn(-1, 2); }), "-1 merges: must not be negative");
  check_has(message_of([&] { learn(1, 0); }), "min_count = 0: must be at least 1");
}

TEST_CASE("texts are counted together") {
  const Lines first = {"ab ab cd"}, second = {"cd cd"};
  CHECK(Bpe::learn(std::vector<Lines>{first, second}, 1).merges() ==
        std::vector<Bpe::Merge>{{"c", "d</w>"}});
}

TEST_CASE("the quick learner finds what counting again after every merge finds") {
  // Two letters alone: words such as aaabaab have pairs that overlap themselves, pieces that come
  // about in several ways, and many ties.
  Draw draw;
  for (const std::uint32_t letters : {1u, 2u, 4u}) {
    Lines lines;
    for (int i = 0; i < 40; ++i) {
      std::string line;
      for (int w = 0; w < 6; ++w) line += draw.word(letters, 1 + draw(9)) + ' ';
      lines.push_back(line);
    }
    const std::vector<Bpe::Merge> slow = learn_slowly(lines, 400);
    CHECK(slow.size() > (letters == 1 ? 5u : 60u));
    CHECK(Bpe::learn(std::vector<Lines>{lines}, 400).merges() == slow);
  }
}

TEST_CASE("a word's pieces are those of the definition, whatever the order of the rules") {
  Draw draw;
  for (int round = 0; round < 300; ++round) {
    // Rules in random order: a rule may precede those that make its pieces.
    std::vector<Bpe::Merge> merges;
    for (std::uint32_t n = 1 + draw(12); n > 0; --n)
      merges.emplace_back(draw.word(2, 1 + draw(3)),
                          draw.word(2, 1 + draw(3)) + (draw(3) == 0 ? "</w>" : ""));
    const Bpe bpe(merges);
    for (int i = 0; i < 5; ++i) {
      const std::string word = draw.word(2, 1 + draw(30));
      CHECK(bpe.encode_word(word) == encode_slowly(merges, word));
    }
  }
}

TEST_CASE("a word of a million characters") {
  // Steps that are quadratic in the length would take hours.
  Draw draw;
  const std::string word = draw.word(4, 1'000'000);
  const Bpe bpe = Bpe::learn(std::vector<Lines>{{word}}, 2'000);
  REQUIRE(bpe.merges().size() == 2'000);
  const Tokens pieces = bpe.encode_word(word);
  CHECK(pieces.size() < word.size() / 3);
  CHECK(Bpe::join(pieces) == word);
  // Far from its end, the pieces of a part are those of the whole.
  const Tokens slow = encode_slowly(bpe.merges(), word.substr(0, 400));
  REQUIRE(slow.size() > 60);
  CHECK(std::equal(pieces.begin(), pieces.begin() + 40, slow.begin()));
}

TEST_CASE("subword-nmt's own codes and text: Multi30k") {
  const char* data = std::getenv("FOVEA_DATA");
  if (!data) return test::skip("FOVEA_DATA is not set");
  const fs::path folder = fs::path(data) / "multi30k";
  const Bpe bpe = Bpe::read(folder / "bpe10k.en-de.codes");
  REQUIRE(bpe.merges().size() == 10'000);
  std::size_t lines = 0;
  for (const std::string language : {"en", "de"}) {
    const Lines text = read_lines(folder / ("val.lc.norm.tok." + language));
    const Lines wanted = read_lines(folder / ("bpe10k.expected.val." + language));
    REQUIRE(text.size() == wanted.size());
    for (std::size_t i = 0; i < text.size(); ++i, ++lines) {
      const Tokens pieces = bpe.encode(text[i]);
      REQUIRE(spaced(pieces) == spaced(tokenize(wanted[i], Unit::words)));
      REQUIRE(Bpe::join(pieces) == spaced(tokenize(text[i], Unit::words)));
    }
  }
  CHECK(lines == 2'028);

  const std::vector<Lines> train = {read_lines(folder / "train.lc.norm.tok.en"),
                                    read_lines(folder / "train.lc.norm.tok.de")};
  const std::vector<Bpe::Merge> learned = Bpe::learn(train, 10'000).merges();
  REQUIRE(learned.size() == 10'000);
  std::size_t equal = 0;
  while (equal < learned.size() && learned[equal] == bpe.merges()[equal]) ++equal;
  MESSAGE("merges equal to subword-nmt's: the first ", equal);
  CHECK(equal == 10'000);
}
