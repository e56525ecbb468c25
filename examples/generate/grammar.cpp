#include "grammar.h"

#include <span>
#include <sstream>
#include <vector>

namespace {

// Singular and plural.
struct Word {
  const char* forms[2];
};

constexpr Word nouns[] = {{{"cat", "cats"}},   {{"dog", "dogs"}},       {{"fox", "foxes"}},
                          {{"bird", "birds"}}, {{"child", "children"}}, {{"goose", "geese"}},
                          {{"mouse", "mice"}}, {{"horse", "horses"}}};
constexpr Word sleeping[] = {
    {{"sleeps", "sleep"}}, {{"runs", "run"}}, {{"sings", "sing"}}, {{"waits", "wait"}}};
constexpr Word seeing[] = {
    {{"sees", "see"}}, {{"follows", "follow"}}, {{"likes", "like"}}, {{"hears", "hear"}}};
constexpr Word articles[] = {{{"the", "the"}}, {{"a", "two"}}, {{"this", "these"}}};
constexpr const char* adjectives[] = {"small", "old", "quick", "quiet", "red"};
constexpr const char* adverbs[] = {"here", "at night", "in the rain", "by the river"};

template <class T>
const T& any(std::span<const T> list, fovea::Rng& rng) {
  return list[static_cast<std::size_t>(rng.below(std::ssize(list)))];
}

// sentence = nouns(n) [that clause(n)] verbs(n) .
// nouns(n) = article(n) [adjective] noun(n)
// clause(n) = seeing(n) nouns(m) | nouns(m) seeing(m)
// verbs(n) = sleeping(n) [adverb] | seeing(n) nouns(m)
class Maker {
 public:
  explicit Maker(fovea::Rng& rng) : rng_(rng) {}

  std::string sentence() {
    const std::size_t n = number();
    std::string text = noun_phrase(n);
    if (rng_.chance(0.35)) text += " that " + clause(n);
    return text + " " + verb_phrase(n) + ".";
  }

 private:
  std::size_t number() { return rng_.chance(0.5) ? 1 : 0; }
  std::string word(std::span<const Word> list, std::size_t n) { return any(list, rng_).forms[n]; }

  std::string noun_phrase(std::size_t n) {
    std::string text = word(articles, n) + " ";
    if (rng_.chance(0.4)) text += std::string(any<const char*>(adjectives, rng_)) + " ";
    return text + word(nouns, n);
  }
  std::string clause(std::size_t n) {
    const std::size_t m = number();
    if (rng_.chance(0.5)) return word(seeing, n) + " " + noun_phrase(m);
    return noun_phrase(m) + " " + word(seeing, m);
  }
  std::string verb_phrase(std::size_t n) {
    if (rng_.chance(0.5)) return word(seeing, n) + " " + noun_phrase(number());
    std::string text = word(sleeping, n);
    if (rng_.chance(0.5)) text += " " + std::string(any<const char*>(adverbs, rng_));
    return text;
  }

  fovea::Rng& rng_;
};

// Recursive-descent parser: each function consumes its words, or returns false.
class Judge {
 public:
  explicit Judge(std::string_view text) {
    if (!text.ends_with('.')) return;
    std::istringstream in{std::string(text.substr(0, text.size() - 1))};
    std::string tidy;
    for (std::string word; in >> word;) {
      tidy += (words_.empty() ? "" : " ") + word;
      words_.push_back(word);
    }
    if (tidy + "." != text) words_.clear();  // not the grammar's spacing
  }

  bool sentence() {
    for (const std::size_t n : {0u, 1u}) {
      at_ = 0;
      if (noun_phrase(n) && clause_or_none(n) && verb_phrase(n) && at_ == words_.size())
        return true;
    }
    return false;
  }

 private:
  bool take(std::string_view word) {
    const bool there = at_ < words_.size() && words_[at_] == word;
    at_ += there;
    return there;
  }
  bool take(std::span<const Word> list, std::size_t n) {
    for (const Word& word : list)
      if (take(word.forms[n])) return true;
    return false;
  }
  bool noun_phrase(std::size_t n) {
    const std::size_t begin = at_;
    if (take(articles, n)) {
      for (const char* adjective : adjectives)
        if (take(adjective)) break;
      if (take(nouns, n)) return true;
    }
    at_ = begin;
    return false;
  }
  bool any_noun_phrase() { return noun_phrase(0) || noun_phrase(1); }
  bool clause_or_none(std::size_t n) {
    if (!take("that")) return true;
    if (take(seeing, n)) return any_noun_phrase();
    for (const std::size_t m : {0u, 1u}) {
      const std::size_t begin = at_;
      if (noun_phrase(m) && take(seeing, m)) return true;
      at_ = begin;
    }
    return false;
  }
  bool verb_phrase(std::size_t n) {
    if (take(seeing, n)) return any_noun_phrase();
    if (!take(sleeping, n)) return false;
    for (const char* adverb : adverbs) {
      std::istringstream in{adverb};
      const std::size_t begin = at_;
      bool whole = true;
      for (std::string word; in >> word;) whole = whole && take(word);
      if (whole) break;
      at_ = begin;
    }
    return true;
  }

  std::vector<std::string> words_;
  std::size_t at_ = 0;
};

}  // namespace

std::string random_sentence(fovea::Rng& rng) { return Maker(rng).sentence(); }

bool is_sentence(std::string_view text) { return Judge(text).sentence(); }
