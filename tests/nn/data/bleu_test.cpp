#include <fovea/core/error.h>
#include <fovea/nn/data/bleu.h>
#include <fovea/nn/data/text.h>

#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::nn::data;

namespace {

using Four = std::array<std::int64_t, 4>;

// sacreBLEU's own example with two references per sentence (README and test/test_bleu.py).
const Lines dog = {"The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."};
const std::vector<Lines> dog_references = {
    {"The dog bit the man.", "It was not unexpected.", "The man bit him first."},
    {"The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."}};

// A corpus that is reproducible in any language: words w0 .. w6 drawn by ANSI C's example
// generator.
class RandomCorpus {
 public:
  RandomCorpus() {
    for (int i = 0; i < 50; ++i) first.push_back(sentence());
    for (const std::string& line : first) hypotheses.push_back(noisy(line));
    for (const std::string& line : first) second.push_back(noisy(line) + " w0");
  }

  Lines hypotheses, first, second;

 private:
  std::int64_t draw(std::int64_t n) {
    state_ = (state_ * 1103515245 + 12345) % (std::int64_t{1} << 31);
    return (state_ >> 16) % n;
  }
  std::string word() { return "w" + std::to_string(draw(7)) + " "; }
  std::string sentence() {
    std::string line;
    for (auto left = draw(12); left > 0; --left) line += word();
    return line;
  }
  std::string noisy(const std::string& line) {
    std::string changed;
    for (std::size_t at = 0; at < line.size(); at += 3)
      changed += draw(4) != 0 ? line.substr(at, 3) : word();
    return changed;
  }

  std::int64_t state_ = 1;
};

bool close(double a, double b, double tolerance = 1e-7) { return std::abs(a - b) <= tolerance; }

}  // namespace

TEST_CASE("bleu: the values that sacreBLEU's tests expect") {
  // github.com/mjpost/sacrebleu, test/test_bleu.py: tokenize='none', multiple references
  CHECK(close(corpus_bleu(dog, dog_references).score, 49.1919566));
  // ibid., test_case_scoring: from the counts alone
  const BleuCounts counts{.matches = {9, 7, 5, 3},
                          .totals = {10, 8, 6, 4},
                          .hypothesis_length = 11,
                          .reference_length = 11};
  CHECK(close(bleu_from_counts(counts).score, 83.75922397));
  // ibid., test_case_statistics
  const Bleu symbols = corpus_bleu(Lines{"am I am a character sequence"},
                                   Lines{"I am a symbol string sequence a a"});
  CHECK(symbols.counts.matches == Four{4, 2, 1, 0});
  CHECK(symbols.counts.totals == Four{6, 5, 4, 3});
  CHECK(symbols.score == 0);
  // ibid., test_sentence_bleu.py: smooth_method='exp', tokenize='none'
  const Lines sys = {"Producția de zahăr primă va fi exprimată în ceea ce privește zahărul alb;"};
  const Lines ref = {"producţia de zahăr brut se exprimă în zahăr alb;"};
  CHECK(close(corpus_bleu(sys, ref, Smoothing::exponential).score, 7.347, 1e-3));
  CHECK(corpus_bleu(sys, ref).score == 0);
}

TEST_CASE("bleu: counts that sacreBLEU's tests call degenerate") {
  for (const BleuCounts& counts :
       {BleuCounts{{0, 0, 0, 0}, {4, 4, 2, 1}, 0, 1},
        BleuCounts{{0, 0, 0, 0}, {10, 11, 12, 0}, 14, 10},
        BleuCounts{{0, 0, 0, 0}, {0, 0, 0, 0}, 0, 0}, BleuCounts{{6, 5, 4, 0}, {6, 5, 4, 3}, 6, 6},
        BleuCounts{{0, 0, 0, 0}, {0, 0, 0, 0}, 1, 5}})
    CHECK(bleu_from_counts(counts).score == 0);
}

TEST_CASE("bleu: a random corpus scores as sacreBLEU 2.6 scores it") {
  const RandomCorpus corpus;
  const Bleu one = corpus_bleu(corpus.hypotheses, corpus.first);
  CHECK(close(one.score, 59.93729601832726, 1e-10));
  CHECK(one.counts.matches == Four{229, 156, 98, 65});
  CHECK(one.counts.totals == Four{277, 230, 187, 148});
  CHECK(one.counts.reference_length == 277);

  const Bleu two = corpus_bleu(corpus.hypotheses, std::vector<Lines>{corpus.first, corpus.second});
  CHECK(close(two.score, 61.76462602728895, 1e-10));
  CHECK(two.counts.matches == Four{240, 162, 100, 66});

  CHECK(close(corpus_bleu(Lines{"the cat sat on mat"}, Lines{"the cat is on the mat"},
                          Smoothing::exponential)
                  .score,
              20.80119537801062, 1e-10));
}

TEST_CASE("bleu: by hand") {
  // Papineni et al.'s clipping example: "the" counts twice, not seven times.
  const Bleu the =
      corpus_bleu(Lines{"the the the the the the the"}, Lines{"the cat is on the mat"});
  CHECK(the.counts.matches == Four{2, 0, 0, 0});
  CHECK(the.counts.totals == Four{7, 6, 5, 4});

  // a b c d e against a b c d f: p = 4/5, 3/4, 2/3, 1/2, whose product is 1/5
  CHECK(
      close(corpus_bleu(Lines{"a b c d e"}, Lines{"a b c d f"}).score, 100 * std::pow(0.2, 0.25)));

  // all precisions 1, four words of eight: only the brevity penalty exp(1 - 8/4)
  const Bleu brief = corpus_bleu(Lines{"a b c d"}, Lines{"a b c d e f g h"});
  CHECK(close(brief.brevity_penalty, std::exp(-1.0)));
  CHECK(close(brief.score, 100 * std::exp(-1.0)));
  CHECK(corpus_bleu(Lines{"a b c d e f g h"}, Lines{"a b c d"}).brevity_penalty == 1);

  // of references of 3 and 5 words the shorter is the nearer one to 4
  const std::vector<Lines> near = {{"x y z v w"}, {"x y z"}};
  CHECK(corpus_bleu(Lines{"x y z v"}, near).counts.reference_length == 3);
}

TEST_CASE("bleu: empty and equal texts") {
  CHECK(corpus_bleu(Lines{"a b c d", "e f g h"}, Lines{"a b c d", "e f g h"}).score ==
        doctest::Approx(100));
  CHECK(corpus_bleu(Lines{}, Lines{}).score == 0);
  CHECK(corpus_bleu(Lines{"", ""}, Lines{"a b", "c"}).score == 0);
  CHECK(corpus_bleu(Lines{"a b"}, Lines{""}).score == 0);
  CHECK(corpus_bleu(Lines{"a b"}, Lines{"a b"}).score == 0);  // no 4-grams: as sacreBLEU
  CHECK(corpus_bleu(Lines{"a  b\tc d "}, Lines{" a b c d"}).score == doctest::Approx(100));
}

TEST_CASE("bleu: the printed line is that of multi-bleu.perl") {
  CHECK(corpus_bleu(dog, dog_references).str() ==
        "BLEU = 49.19, 71.4/54.5/50.0/40.0 (BP=0.931, ratio=0.933, hyp_len=14, ref_len=15)");
  CHECK(Bleu().str() ==
        "BLEU = 0.00, 0.0/0.0/0.0/0.0 (BP=0.000, ratio=0.000, hyp_len=0, ref_len=0)");
}

TEST_CASE("bleu: unequal numbers of lines") {
  CHECK_THROWS_WITH_AS(corpus_bleu(Lines{"a", "b"}, Lines{"a"}),
                       "corpus_bleu: 2 hypotheses and 1 references: must be equal",
                       fovea::ValueError);
  CHECK_THROWS_WITH_AS(corpus_bleu(Lines{"a"}, std::vector<Lines>{}),
                       "corpus_bleu: 0 references: must be at least 1", fovea::ValueError);
}
