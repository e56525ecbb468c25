#include <fovea/core/error.h>
#include <fovea/nn/data/vocab.h>
#include <fovea/tests/support/compare.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea::nn::data;
using fovea::test::message_of;

namespace {

Tokens all_tokens(const Vocab& vocab) {
  Tokens tokens;
  for (std::int64_t id = 0; id < vocab.size(); ++id) tokens.push_back(vocab.token(id));
  return tokens;
}

const TokenCounts fruit = {{"pear", 2}, {"fig", 5}, {"apple", 2}, {"kiwi", 1}, {"Äpfel", 2}};

}  // namespace

TEST_CASE("vocab: the specials come first, then tokens by count, then by bytes") {
  CHECK(all_tokens(Vocab()) == Tokens{"<pad>", "<unk>", "<bos>", "<eos>"});
  CHECK(all_tokens(Vocab(fruit)) ==
        Tokens{"<pad>", "<unk>", "<bos>", "<eos>", "fig", "apple", "pear", "Äpfel", "kiwi"});
}

TEST_CASE("vocab: minimum count and maximum size") {
  CHECK(Vocab(fruit, {.min_count = 2}).size() == 8);
  CHECK(Vocab(fruit, {.min_count = 6}).size() == 4);
  CHECK(all_tokens(Vocab(fruit, {.max_size = 6})) ==
        Tokens{"<pad>", "<unk>", "<bos>", "<eos>", "fig", "apple"});
  CHECK(Vocab(fruit, {.max_size = 4}).size() == 4);
  CHECK(message_of<fovea::ValueError>([] { Vocab(fruit, {.max_size = 3}); }) ==
        "Vocab: max_size = 3: must be at least 4, for the special tokens");
}

TEST_CASE("vocab: tokens are counted over lines") {
  TokenCounts counts;
  count_tokens(Tokens{"a b  a", "", "b c"}, Unit::words, counts);
  count_tokens(Tokens{"ß"}, Unit::characters, counts);
  CHECK(counts == TokenCounts{{"a", 2}, {"b", 2}, {"c", 1}, {"ß", 1}});
}

TEST_CASE("vocab: encoding and decoding") {
  const Vocab vocab(fruit);
  CHECK(vocab.encode(Tokens{"fig", "mango", "kiwi"}) == Ids{4, Vocab::unk, 8});
  CHECK(vocab.encode(Tokens{}).empty());
  CHECK(vocab.decode(Ids{4, 8}) == Tokens{"fig", "kiwi"});
  CHECK(vocab.decode(Ids{Vocab::bos, 4, Vocab::unk, Vocab::eos, 8}) == Tokens{"fig", "<unk>"});
  CHECK(vocab.decode(Ids{Vocab::pad, 4, Vocab::pad}) == Tokens{"fig"});
  CHECK(message_of<fovea::IndexError>([&] {
          vocab.decode(Ids{4, 9});
        }) == "Vocab: id = 9: must be in [0, 9)");
  CHECK(message_of<fovea::IndexError>([&] { vocab.token(-1); }) ==
        "Vocab: id = -1: must be in [0, 9)");
}

TEST_CASE("vocab: no text is encoded as a special token") {
  TokenCounts counts;
  count_tokens(Tokens{"<eos> <pad> <bos> <unk> x <eos>"}, Unit::words, counts);
  const Vocab vocab(counts);
  CHECK(vocab.size() == 5);
  CHECK(vocab.encode(Tokens{"<pad>", "<eos>", "x"}) == Ids{Vocab::unk, Vocab::unk, 4});
}

TEST_CASE("vocab: JSON carries any token, in ASCII") {
  const std::string nul("\0", 1);
  const Vocab vocab(TokenCounts{{"grün", 9},
                                {"\"quoted\\\"", 8},
                                {"😀", 7},
                                {"\xFF\x80", 6},
                                {"a\nb", 5},
                                {nul, 4},
                                {"", 3},
                                {"\xC3", 2}});
  const std::string json = vocab.to_json();
  for (const char c : json) CHECK((c >= 0x20 && c < 0x7F));
  CHECK(json.find(R"({"hex":"ff80"})") != std::string::npos);

  const Vocab same = Vocab::from_json(json);
  CHECK(all_tokens(same) == all_tokens(vocab));
  CHECK(same.id("\xFF\x80") == vocab.id("\xFF\x80"));
  CHECK(same.to_json() == json);
  CHECK(all_tokens(Vocab::from_json(Vocab().to_json())) == all_tokens(Vocab()));
}

TEST_CASE("vocab: invalid JSON is an error") {
  const auto error_of = [](const std::string& json) {
    return message_of<fovea::FormatError>([&] { Vocab::from_json(json); });
  };
  const auto with = [](const std::string& more) {
    return R"(["<pad>","<unk>","<bos>","<eos>",)" + more + "]";
  };
  for (const char* text : {"", "{", "null", "{}", "\"<pad>\"", "[\"<pad>\"", "\xFF"})
    CHECK(error_of(text) == "Vocab: must be a JSON array of tokens");
  CHECK(error_of("[]") == "Vocab: entry 0: must be <pad>");
  CHECK(error_of(R"(["<pad>","<unk>","<eos>","<bos>"])") == "Vocab: entry 2: must be <bos>");
  CHECK(error_of(R"(["<pad>","<unk>","<bos>"])") == "Vocab: entry 3: must be <eos>");
  CHECK(error_of(with(R"("x","x")")) == "Vocab: \"x\": must appear once");
  CHECK(error_of(with(R"("x",{"hex":"78"})")) == "Vocab: \"x\": must appear once");
  CHECK(error_of(with(R"("<bos>")")) == "Vocab: <bos>: must not be an ordinary token");
  for (const char* entry : {"5", "null", "[]", "{}", R"({"hex":5})", R"({"hex":"ff","x":1})"})
    CHECK(error_of(with(entry)) == R"(Vocab: entry 4: must be a string or {"hex": "..."})");
  for (const char* hex : {"f", "fff", "zz", "-1", " f", "0x"})
    CHECK(error_of(with(std::string(R"({"hex":")") + hex + "\"}")) ==
          "Vocab: \"" + std::string(hex) + "\": must be pairs of hexadecimal digits");
}
