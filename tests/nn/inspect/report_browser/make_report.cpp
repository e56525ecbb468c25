// Writes the report for the browser test, with extreme sizes, scripts and hostile tokens.
//
//   make_report FILE.html
#include <fovea/core/random.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/tests/nn/inspect/hostile_tokens.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace fovea::nn::inspect;

namespace {

using Tokens = std::vector<std::string>;

// Weights like those of trained heads: each attends to a relative position, more or less sharply.
std::vector<float> weights(std::int64_t heads, std::size_t T, std::size_t S, bool causal,
                           fovea::Rng& rng) {
  std::vector<float> all;
  for (std::int64_t h = 0; h < heads; ++h) {
    const double sharp = 0.5 + 2.5 * rng.uniform(), shift = std::floor(5 * rng.uniform()) - 2;
    for (std::size_t t = 0; t < T; ++t) {
      std::vector<double> row(S);
      double sum = 0;
      for (std::size_t s = 0; s < S; ++s) {
        const double at = static_cast<double>(t) * static_cast<double>(S) / static_cast<double>(T);
        const double away = std::abs(at + shift - static_cast<double>(s));
        row[s] = causal && s > t ? 0 : std::exp(-sharp * away + 2 * rng.uniform());
        sum += row[s];
      }
      for (const double w : row) all.push_back(static_cast<float>(w / sum));
    }
  }
  return all;
}

AttentionMap map(const ReportSentence& sentence, const std::string& layer, AttentionKind kind,
                 std::size_t queries, std::size_t keys, std::int64_t heads, fovea::Rng& rng) {
  const TokenSequence &looking = sentence.sequences[queries], &seen = sentence.sequences[keys];
  const bool causal = kind == AttentionKind::self && looking.name == "target";
  return {.layer = layer,
          .mechanism = "multihead",
          .kind = kind,
          .queries = looking.name,
          .keys = seen.name,
          .heads = heads,
          .weights = weights(heads, looking.tokens.size(), seen.tokens.size(), causal, rng)};
}

ReportSentence translation(std::string title, Tokens source, Tokens target, std::int64_t layers,
                           std::int64_t heads, fovea::Rng& rng) {
  ReportSentence sentence{.title = std::move(title)};
  sentence.sequences = {{"source", std::move(source)}, {"target", std::move(target)}};
  const auto self = AttentionKind::self, cross = AttentionKind::cross;
  for (std::int64_t l = 0; l < layers; ++l) {
    const std::string at = ".layers." + std::to_string(l);
    sentence.maps.push_back(map(sentence, "encoder" + at + ".self_attn", self, 0, 0, heads, rng));
    sentence.maps.push_back(map(sentence, "decoder" + at + ".self_attn", self, 1, 1, heads, rng));
    sentence.maps.push_back(
        map(sentence, "decoder" + at + ".multihead_attn", cross, 1, 0, heads, rng));
  }
  return sentence;
}

ReportSentence short_one(fovea::Rng& rng) {
  ReportSentence sentence =
      translation("ein kleiner hund läuft durch den schnee .",
                  {"ein", "kleiner", "hund", "läuft", "durch", "den", "schnee", "."},
                  {"<s>", "a", "small", "dog", "runs", "through", "the", "snow", "."}, 3, 4, rng);
  sentence.prediction = "a small dog runs through the snow .";
  AttentionMap additive = map(sentence, "decoder.attention", AttentionKind::cross, 1, 0, 1, rng);
  additive.mechanism = "additive";
  sentence.maps.push_back(std::move(additive));
  return sentence;
}

ReportSentence long_one(fovea::Rng& rng) {
  const Tokens phrase = {"wenn", "hinter", "fliegen", "fliegen", ",", "fliegen", "fliegen", "nach"};
  const Tokens other = {"if", "behind", "flies", "fly", "flies", ",", "then", "fly", "after"};
  Tokens source, target;
  for (int i = 0; i < 8; ++i) {
    source.insert(source.end(), phrase.begin(), phrase.end());
    target.insert(target.end(), other.begin(), other.end());
  }
  return translation("a long one", source, target, 1, 8, rng);
}

ReportSentence hostile_one(fovea::Rng& rng) {
  const std::string word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk";
  return translation("</script><b>&quot; and ]]> <!-- are texts",
                     {"</script><script>document.title='broken'</script>", "<b>", "&quot;", "<!--",
                      "שלום", "مرحبا", "👩‍👩‍👧", " ", "", "\n", word, "日本語", "\xff"},
                     {"{{data}}", "\\u003c", "\u202e", "${x}", "'", "\"", "\x01", "ok"}, 1, 2, rng);
}

ReportSentence hostile_tokens(fovea::Rng& rng) {
  const Tokens& tokens = fovea::test::hostile_tokens;
  ReportSentence sentence = translation(tokens[0], tokens, tokens, 1, 1, rng);
  sentence.prediction = tokens[1];
  for (AttentionMap& map : sentence.maps) map.mechanism = tokens[2];
  sentence.evidence = {"source", tokens[3], std::vector<float>(tokens.size(), 1.0f), tokens[4],
                       tokens[5]};
  return sentence;
}

ReportSentence review() {
  ReportSentence sentence{.title = "the plot is thin , but the acting is wonderful",
                          .prediction = "positive, 87.2 %"};
  sentence.sequences = {
      {"text", {"the", "plot", "is", "thin", ",", "but", "the", "acting", "is", "wonderful"}}};
  sentence.evidence = {
      .sequence = "text",
      .label = "What each word added to the decision",
      .weights = {0.01f, -0.1f, 0.0f, -0.72f, 0.02f, 0.31f, 0.01f, 0.12f, 0.03f, 1.24f},
      .positive = "positive",
      .negative = "negative"};
  return sentence;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  fovea::Rng rng(7);
  Report report{.title = "Translation, German to English",
                .description = "Where a small transformer looked while it translated.",
                .facts = {{"model", "transformer"}, {"layers", "3"}, {"heads", "4"}}};
  report.sentences = {short_one(rng), long_one(rng), hostile_one(rng), review(),
                      hostile_tokens(rng)};
  write_report(argv[1], report);
}
