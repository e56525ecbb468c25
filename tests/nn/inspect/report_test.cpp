#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/random.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/tests/nn/inspect/hostile_tokens.h>
#include <fovea/tests/nn/inspect/sha256.h>
#include <fovea/tests/nn/inspect/xml_check.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string_view>
#include <unistd.h>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace fovea;
using namespace fovea::nn::inspect;
using test::count_of;
using test::message_of;
using Json = nlohmann::json;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

Report greeting() {
  Report report{.title = "greeting", .description = "Who greets whom."};
  report.sentences = {{.title = "hello world"}};
  report.sentences[0].sequences = {{"source", {"hello", "world"}}, {"target", {"a", "b", "c"}}};
  report.sentences[0].maps = {
      {.layer = "decoder.attention",
       .mechanism = "additive",
       .kind = AttentionKind::cross,
       .queries = "target",
       .keys = "source",
       .heads = 2,
       .weights = {0.5f, 0.5f, 1, 0, 0, 0, 0.25f, 0.75f, 0.1f, 0.9f, 0, 1}}};
  return report;
}

// The first text between two markers.
std::string between(const std::string& text, std::string_view begin, std::string_view end) {
  const std::size_t at = text.find(begin) + begin.size();
  return text.substr(at, text.find(end, at) - at);
}

std::string base64_of(const std::string& bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) text += digits[bits >> (count - 6) & 63];
  }
  if (count > 0) text += digits[bits << (6 - count) & 63];
  return text.append((4 - text.size() % 4) % 4, '=');
}

// A text with invalid bytes after a round trip through JSON.
bool same_text(const std::string& found, const std::string& given) {
  return found == given || (found.find("\xEF\xBF\xBD") != std::string::npos &&
                            nn::data::find_invalid_utf8(given) != std::string::npos);
}

// The data in the page.
Json data_of(const std::string& page) {
  constexpr std::string_view before = "<script type=\"application/json\" id=\"data\">";
  const std::size_t begin = page.find(before) + before.size();
  return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

std::vector<std::uint8_t> decoded_base64(const std::string& text) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::uint8_t> bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<std::uint32_t>(digits.find(c));
    count += 6;
    if (count >= 8) bytes.push_back(static_cast<std::uint8_t>(bits >> (count -= 8)));
  }
  return bytes;
}

// Decodes the format described in report.h: (rows, S).
std::vector<float> decoded(const std::string& text, std::size_t rows, std::size_t S) {
  const std::vector<std::uint8_t> bytes = decoded_base64(text);
  std::vector<float> weights;
  std::size_t at = 0;
  const auto number = [&](int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) value |= std::uint32_t{bytes.at(at++)} << (8 * i);
    return value;
  };
  for (std::size_t row = 0; row < rows; ++row) {
    const std::uint32_t kept = number(2);
    const float largest = std::bit_cast<float>(number(4));
    for (std::size_t s = 0; s < S; ++s)
      weights.push_back(s < kept ? static_cast<float>(bytes.at(at++)) / 255 * largest : 0.0f);
  }
  REQUIRE(at == bytes.size());
  return weights;
}

template <class E>
std::string error_of(const Report& report) {
  return message_of<E>([&] { report_page(report); });
}

}  // namespace

TEST_CASE("report: the page contains the given data") {
  Report report = greeting();
  report.facts = {{"model", "gru"}, {"parameters", "12"}};
  report.sentences[0].prediction = "hallo welt";
  report.sentences[0].evidence = {.sequence = "source",
                                  .label = "share",
                                  .weights = {0.123456f, -2.5f},
                                  .positive = "for",
                                  .negative = "against"};
  const Json data = data_of(report_page(report));
  CHECK(data["title"] == "greeting");
  CHECK(data["description"] == "Who greets whom.");
  CHECK(data["facts"].dump() == R"([["model","gru"],["parameters","12"]])");
  REQUIRE(data["sentences"].size() == 1);
  const Json& sentence = data["sentences"][0];
  CHECK(sentence["title"] == "hello world");
  CHECK(sentence["prediction"] == "hallo welt");
  CHECK(sentence["sequences"].dump() == R"([{"name":"source","tokens":["hello","world"]},)"
                                        R"({"name":"target","tokens":["a","b","c"]}])");
  CHECK(sentence["evidence"].dump() == R"({"label":"share","negative":"against","positive":"for",)"
                                       R"("sequence":0,"weights":[0.1235,-2.5]})");
  Json map = sentence["maps"].at(0);
  const std::vector<float> weights = decoded(map["weights"], 6, 2);
  for (std::size_t i = 0; i < 12; ++i)
    CHECK(std::abs(weights[i] - report.sentences[0].maps[0].weights[i]) <= 1.0 / 510 + 1e-7);
  CHECK(weights[2] == 1);
  CHECK(weights[3] == 0);
  map.erase("weights");
  CHECK(map.dump() == R"({"heads":2,"keys":0,"kind":"cross","layer":"decoder.attention",)"
                      R"("mechanism":"additive","queries":1})");
}

TEST_CASE("report: the error of a weight is at most 1/510 of the row's largest") {
  Rng rng(1);
  const std::size_t T = 17, S = 23, heads = 3;
  Report report{.title = "precision"};
  ReportSentence& sentence = report.sentences.emplace_back();
  sentence.sequences = {{"q", std::vector<std::string>(T, "q")},
                        {"k", std::vector<std::string>(S, "k")}};
  std::vector<float> weights(heads * T * S);
  for (std::size_t i = 0; i < weights.size(); ++i)  // rows of 1, 1/10, ... and of nothing
    weights[i] = static_cast<float>(rng.uniform() * std::pow(0.1, i / S % 7)) *
                 (i / S % 9 == 8 || i % S > 2 * (i / S % T) ? 0 : 1);
  sentence.maps = {{.queries = "q", .keys = "k", .heads = 3, .weights = weights}};
  const Json data = data_of(report_page(report));
  const auto got = decoded(data["sentences"][0]["maps"][0]["weights"], heads * T, S);
  for (std::size_t row = 0; row < heads * T; ++row) {
    const auto first = weights.begin() + static_cast<std::ptrdiff_t>(row * S);
    const float largest = *std::max_element(first, first + static_cast<std::ptrdiff_t>(S));
    for (std::size_t i = row * S; i < (row + 1) * S; ++i)
      CHECK(std::abs(got[i] - weights[i]) <= largest / 510 * 1.0001f);
  }
}

TEST_CASE("report: hostile tokens stay text in every position") {
  CHECK(test::hostile_tokens.size() >= 30);
  const std::string plain = report_page(greeting());
  for (const std::string& token : test::hostile_tokens) {
    CAPTURE(token);
    Report report = greeting();
    report.title = report.description = token;
    report.facts = {{token, token}};
    ReportSentence& sentence = report.sentences[0];
    sentence.title = sentence.prediction = token;
    sentence.sequences[0].tokens = {token, "world"};
    sentence.maps[0].layer = sentence.maps[0].mechanism = token;
    sentence.evidence = {"source", token, {1, 2}, token, token};
    const std::string page = report_page(report);
    CHECK(count_of(page, "<") == count_of(plain, "<"));
    CHECK(count_of(page, ">") == count_of(plain, ">"));
    CHECK(count_of(page, "\u2028") + count_of(page, "\u2029") ==
          count_of(between(page, "<title>", "</title>"), "\u2028") * 2);
    const Json data = data_of(page);
    CHECK(same_text(data["title"], token));
    CHECK(same_text(data["facts"][0][1], token));
    CHECK(same_text(data["sentences"][0]["sequences"][0]["tokens"][0], token));
    CHECK(same_text(data["sentences"][0]["evidence"]["positive"], token));
    CHECK(same_text(data["sentences"][0]["maps"][0]["layer"], token));
  }
  Report broken = greeting();
  broken.sentences[0].sequences[0].tokens[0] = "a\xff";
  CHECK(data_of(report_page(broken))["sentences"][0]["sequences"][0]["tokens"][0] ==
        "a\xEF\xBF\xBD");
}

TEST_CASE("report: the content security policy allows only the page's style and script") {
  CHECK(base64_of(test::sha256("abc")) == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
  const std::string page = report_page(greeting());
  const auto hash = [&](const char* tag) {
    const std::string name(tag);
    return "'sha256-" +
           base64_of(test::sha256(between(page, "<" + name + ">", "</" + name + ">"))) + "'";
  };
  std::string policy = between(page, "Content-Security-Policy\" content=\"", "\"");
  policy.erase(std::remove(policy.begin(), policy.end(), '\n'), policy.end());
  CHECK(policy == "default-src 'none'; style-src " + hash("style") + ";  script-src " +
                      hash("script") + "; base-uri 'none'; form-action 'none'");
  CHECK(count_of(page, "<script") == 2);  // the data's, which does not run, and this one
  CHECK(count_of(page, "<style") == 1);
  for (const char* attribute : {" style=", " onclick=", " onload="})
    CHECK(count_of(page, attribute) == 0);
}

TEST_CASE("report: the page is self-contained") {
  const std::string page = report_page(greeting());
  CHECK(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">\n"));
  CHECK(page.ends_with("</html>\n"));
  CHECK(count_of(page, "<title>greeting</title>") == 1);
  CHECK(count_of(page, "default-src 'none'") == 1);
  for (const char* piece : {"{{", "http:", "https:", "src=", "href=", "url(", "@import", "fetch(",
                            "eval(", "innerHTML", "import("})
    CHECK_MESSAGE(count_of(page, piece) == 0, piece);
  for (const char* tag : {"html", "head", "body", "main", "style", "section", "table", "details"}) {
    CAPTURE(tag);
    CHECK(count_of(page, "<" + std::string(tag) + ">") +
              count_of(page, "<" + std::string(tag) + " ") ==
          count_of(page, "</" + std::string(tag) + ">"));
  }
}

TEST_CASE("report: its size") {
  CHECK(report_page(greeting()).size() < 64 << 10);
  // Ten translations of 20 tokens; encoder and decoder have 3 layers of 4 heads.
  Rng rng(1);
  Report report{.title = "large"};
  for (int i = 0; i < 10; ++i) {
    ReportSentence& sentence = report.sentences.emplace_back();
    sentence.sequences = {{"text", std::vector<std::string>(20, "token")}};
    for (int layer = 0; layer < 3 * 3; ++layer) {
      std::vector<float> weights(4 * 20 * 20);
      rng.fill_uniform(weights);
      if (layer % 3 == 0)  // causal
        for (std::size_t w = 0; w < weights.size(); ++w)
          if (w % 20 > w / 20 % 20) weights[w] = 0;
      sentence.maps.push_back({.layer = "layers." + std::to_string(layer),
                               .queries = "text",
                               .keys = "text",
                               .heads = 4,
                               .weights = std::move(weights)});
    }
  }
  const std::size_t size = report_page(report).size();
  CHECK(size < 300 << 10);
  CHECK(size > 100 << 10);
}

TEST_CASE("report: is written atomically") {
  namespace fs = std::filesystem;
  const fs::path path =
      fs::temp_directory_path() / ("fovea_report_test_" + std::to_string(::getpid()) + ".html");
  write_report(path, greeting());
  CHECK(read_file(path) == report_page(greeting()));
  Report broken = greeting();
  broken.sentences[0].maps[0].weights[0] = not_a_number;
  CHECK_THROWS_AS(write_report(path, broken), ValueError);
  CHECK(read_file(path) == report_page(greeting()));
  fs::remove(path);
  CHECK_THROWS_AS(write_report("/no/such/folder/report.html", greeting()), Error);
}

TEST_CASE("report: invalid data are errors") {
  CHECK(error_of<ValueError>({.title = "empty"}) == "report: 0 sentences: must be at least 1");
  Report report = greeting();
  report.sentences[0].maps[0].keys = "sauce";
  CHECK(error_of<ValueError>(report) ==
        "report: \"hello world\": sequence of decoder.attention \"sauce\": must be one of "
        "[source, target]");
  for (const std::int64_t heads : {0, 1, 3, -2}) {
    report = greeting();
    report.sentences[0].maps[0].heads = heads;
    CHECK(error_of<ShapeError>(report) ==
          "report: \"hello world\": decoder.attention has 12 weights: for " +
              std::to_string(heads) + " heads, 3 queries and 2 keys must be " +
              std::to_string(std::max<std::int64_t>(0, heads) * 6));
  }
  for (const float weight : {not_a_number, 1.01f, -0.01f, std::numeric_limits<float>::infinity()}) {
    report = greeting();
    report.sentences[0].maps[0].weights[9] = weight;
    const std::string message = error_of<ValueError>(report);
    CHECK(message.starts_with("report: \"hello world\": decoder.attention: weight "));
    CHECK(message.ends_with(" of head 1, query 1, key 1: must be in [0, 1]"));
  }
  report = greeting();
  report.sentences[0].maps[0].weights[9] = 1.00001f;  // a sum in f32
  CHECK(error_of<ValueError>(report) == "no error");
  report.sentences[0].evidence = {.sequence = "source", .weights = {1}};
  CHECK(error_of<ShapeError>(report) ==
        "report: \"hello world\": evidence has 1 weights for 2 tokens: must be equal");
  report.sentences[0].evidence.weights = {1, not_a_number};
  CHECK(error_of<ValueError>(report) ==
        "report: \"hello world\": evidence weight nan: must be finite");
  report.sentences[0].evidence.sequence = "text";
  CHECK(error_of<ValueError>(report) ==
        "report: \"hello world\": sequence of evidence \"text\": must be one of "
        "[source, target]");
  report = greeting();
  report.sentences[0].sequences.push_back({"book", std::vector<std::string>(65536, "x")});
  CHECK(error_of<ValueError>(report) ==
        "report: \"hello world\": book has 65536 tokens: must be at most 65535");
}
