// A translation depends on its line only, not on the batch, the position or padding.
#include <fovea/core/random.h>
#include <fovea/nn/seq2seq.h>

#include <algorithm>

#include "translator.h"
#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace fovea;

namespace {

std::string line_of(std::int64_t words, Rng& rng) {
  std::string line;
  for (std::int64_t i = 0; i < words; ++i)
    line += fmt::format("{}w{}", i > 0 ? " " : "", rng.below(i % 7 == 6 ? 60 : 40));
  return line;
}

// Some lines of every length up to 12, some of them with out-of-vocabulary words; blank lines; and
// long lines.
std::vector<std::string> mixed_lines() {
  Rng rng(3);
  std::vector<std::string> lines{"", "   ", "\t"};
  for (std::int64_t words = 1; words <= 12; ++words)
    for (int i = 0; i < 2; ++i) lines.push_back(line_of(words, rng));
  lines.push_back(line_of(50, rng));
  lines.push_back(line_of(23, rng));
  rng.shuffle(lines);
  return lines;
}

Tokenizer small_tokenizer(const Options& o) {
  Corpus corpus;
  for (int i = 0; i < 40; ++i) {
    corpus.train.source.push_back(fmt::format("w{}", i));
    corpus.train.target.push_back(fmt::format("v{}", i));
  }
  return {corpus, o};
}

Translator translator_of(const std::string& model, const std::string& attention,
                         std::uint64_t seed) {
  Options o;
  o.task.dates = false;
  o.model = model;
  o.attention = attention;
  o.min_count = 1;
  o.embed = 24, o.hidden = 24, o.layers = 2, o.heads = 3, o.ffn = 40;
  o.coverage = attention == "additive";
  o.input_feeding = attention == "dot";
  fill_defaults(o);
  static Rng rng(seed);
  return {small_tokenizer(o), o, rng};
}

bool same(const std::vector<Translation>& a, const std::vector<Translation>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.text == y.text && x.score == y.score;
  });
}

// All lines together, in reverse order, half of them, and each line separately.
void check_alone(const Translator& translator, const SearchOptions& search) {
  const std::vector<std::string> lines = mixed_lines();
  const auto together = translator.translate(lines, search);
  std::vector<std::string> reversed(lines.rbegin(), lines.rend()), half;
  for (std::size_t i = 0; i < lines.size(); i += 2) half.push_back(lines[i]);
  const auto backward = translator.translate(reversed, search);
  const auto of_half = translator.translate(half, search);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CAPTURE(lines[i]);
    CHECK(same(together[i], translator.translate({lines[i]}, search)[0]));
    CHECK(same(together[i], backward[lines.size() - 1 - i]));
    if (i % 2 == 0) CHECK(same(together[i], of_half[i / 2]));
    const bool blank = lines[i].find_first_not_of(" \t") == std::string::npos;
    CHECK(together[i][0].text.empty() == blank);
    CHECK(together[i].size() == (blank ? 1U : static_cast<std::size_t>(search.n_best)));
  }
}

void check_aligned_alone(const Translator& translator) {
  const std::vector<std::string> lines = mixed_lines();
  std::vector<std::string> targets;
  for (const auto& found : translator.translate(lines, {.max_length = 9}))
    targets.push_back(found[0].text);
  const auto together = translator.align(lines, targets, 1000);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Alignment alone = translator.align({lines[i]}, {targets[i]}, 1000)[0];
    CAPTURE(lines[i]);
    CHECK(together[i].source == alone.source);
    CHECK(together[i].target == alone.target);
    CHECK(together[i].weights == alone.weights);
  }
}

}  // namespace

TEST_CASE("translate: a recurrent model's lines separately and in batches") {
  for (const std::string& attention : nn::attention_names()) {
    CAPTURE(attention);
    const Translator translator = translator_of("rnn", attention, 1);
    check_alone(translator, {.beam = 1});
    check_alone(translator, {.beam = 4, .n_best = 3});
    check_aligned_alone(translator);
  }
}

TEST_CASE("translate: a transformer's lines separately and in batches") {
  const Translator translator = translator_of("transformer", "additive", 1);
  check_alone(translator, {.beam = 1});
  check_alone(translator, {.beam = 5, .length_penalty = 0.5, .n_best = 2});
  check_aligned_alone(translator);
}

TEST_CASE("translate: an ensemble's lines separately and in batches") {
  const auto folder = std::filesystem::temp_directory_path();
  const auto path = folder / fmt::format("fovea-lines-{}.safetensors", getpid());
  Translator translator = translator_of("rnn", "general", 1);
  translator_of("transformer", "additive", 2).save(path);
  Rng rng(0);
  translator.add(path, rng);
  std::filesystem::remove(path);
  check_alone(translator, {.beam = 3, .n_best = 2});
  check_aligned_alone(translator);
}

TEST_CASE("translate: --max-length limits source and target") {
  Rng rng(5);
  const std::string line = line_of(40, rng);
  std::string begin = line;
  for (std::size_t at = 0, words = 0; at != std::string::npos; at = line.find(' ', at + 1))
    if (words++ == 5) begin = line.substr(0, at);
  for (const char* model : {"rnn", "transformer"}) {
    const Translator translator = translator_of(model, "additive", 1);
    for (const std::int64_t beam : {1, 3}) {
      const SearchOptions search{.beam = beam, .max_length = 5};
      std::vector<std::size_t> shortened;
      const auto found = translator.translate({begin, "", line, "w1"}, search, &shortened);
      CHECK(same(found[0], found[2]));
      CHECK(shortened == std::vector<std::size_t>{2});
      CHECK(std::count(found[2][0].text.begin(), found[2][0].text.end(), ' ') <= 4);
      CHECK(translator.align({line}, {line}, 5)[0].source.size() == 6);  // with <eos>
    }
  }
}

TEST_CASE("translate: batches have lines of equal length") {
  std::vector<std::int64_t> lengths(100, 4);
  lengths[7] = 900;
  lengths[30] = 60;
  const auto batches = Translator::search_batches(lengths, 5);
  std::size_t lines = 0;
  for (const nn::data::Ids& batch : batches) {
    lines += batch.size();
    CHECK(std::ssize(batch) <= Translator::search_batch);
    const auto at = [&](std::int64_t row) { return lengths[static_cast<std::size_t>(row)]; };
    CHECK(at(batch.back()) == at(batch[0]));
    CHECK(std::is_sorted(batch.begin(), batch.end(),
                         [&](std::int64_t a, std::int64_t b) { return at(a) < at(b); }));
  }
  CHECK(lines == lengths.size());
  CHECK(batches.size() == 4);
  for (const nn::data::Ids& batch : Translator::search_batches(lengths, 1000))
    CHECK(batch.size() == 1);
  CHECK(Translator::search_batches({}, 1).empty());
}
