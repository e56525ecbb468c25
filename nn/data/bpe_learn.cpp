// Bpe::learn(): which merges it makes.
#include <fovea/core/error.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/vocab.h>

#include <queue>
#include <unordered_set>

namespace fovea::nn::data {
namespace {

using Symbol = std::int32_t;

struct Pair {
  Symbol first, second;
  bool operator==(const Pair&) const = default;
};

struct PairHash {
  std::size_t operator()(const Pair& p) const {
    return std::hash<std::uint64_t>()(static_cast<std::uint64_t>(p.first) << 32 |
                                      static_cast<std::uint32_t>(p.second));
  }
};

// The counts of all pairs are kept up to date word by word as pieces grow, so that a merge costs
// what the words with that pair cost.
class Learner {
 public:
  explicit Learner(const TokenCounts& words) : queue_(Worse{this}) {
    for (const auto& [word, count] : words) add_word(word, count);
    for (const auto& [pair, seen] : pairs_) queue_.push({seen.count, pair});
  }

  std::vector<Bpe::Merge> operator()(std::int64_t merges, std::int64_t min_count) {
    std::vector<Bpe::Merge> learned;
    while (static_cast<std::int64_t>(learned.size()) < merges && find_commonest() &&
           queue_.top().count >= min_count) {
      const Pair best = queue_.top().pair;
      learned.emplace_back(spelling(best.first), spelling(best.second));
      merge(best);
    }
    return learned;
  }

 private:
  struct Word {
    std::vector<Symbol> symbols;
    std::int64_t count;
  };
  struct Seen {
    std::int64_t count = 0;
    std::unordered_set<std::size_t> words;  // that have the pair, or had it once
  };
  struct Candidate {
    std::int64_t count;
    Pair pair;
  };
  struct Worse {
    const Learner* learner;
    bool operator()(const Candidate& a, const Candidate& b) const {
      if (a.count != b.count) return a.count < b.count;
      const int first = learner->spelling(a.pair.first).compare(learner->spelling(b.pair.first));
      if (first != 0) return first < 0;
      return learner->spelling(a.pair.second) < learner->spelling(b.pair.second);
    }
  };

  const std::string& spelling(Symbol symbol) const {
    return spellings_[static_cast<std::size_t>(symbol)];
  }

  Symbol symbol(const std::string& spelled) {
    const auto [found, is_new] = symbols_.emplace(spelled, static_cast<Symbol>(spellings_.size()));
    if (is_new) spellings_.push_back(spelled);
    return found->second;
  }

  void add_word(const std::string& word, std::int64_t count) {
    Tokens characters = tokenize(word, Unit::characters);
    characters.back() += "</w>";
    words_.push_back({{}, count});
    for (const std::string& character : characters)
      words_.back().symbols.push_back(symbol(character));
    count_pairs(words_.size() - 1, +1, nullptr);
  }

  // Adds a word's pairs to the counts, or takes them away; notes which pairs that were.
  void count_pairs(std::size_t word, std::int64_t sign, std::vector<Pair>* changed) {
    const std::vector<Symbol>& symbols = words_[word].symbols;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Pair pair{symbols[i], symbols[i + 1]};
      Seen& seen = pairs_[pair];
      seen.count += sign * words_[word].count;
      if (sign > 0) seen.words.insert(word);
      if (changed) changed->push_back(pair);
    }
  }

  // The queue has an entry for every count that a pair has had. Puts a true one on top; false where
  // no pair is left.
  bool find_commonest() {
    while (!queue_.empty()) {
      const Candidate& top = queue_.top();
      const auto seen = pairs_.find(top.pair);
      if (seen != pairs_.end() && seen->second.count == top.count && top.count > 0) return true;
      queue_.pop();
    }
    return false;
  }

  void merge(const Pair& pair) {
    const Symbol merged = symbol(spelling(pair.first) + spelling(pair.second));
    const std::unordered_set<std::size_t> words = std::move(pairs_[pair].words);
    std::vector<Pair> changed;
    for (const std::size_t word : words) {
      count_pairs(word, -1, &changed);
      replace(words_[word].symbols, pair, merged);
      count_pairs(word, +1, &changed);
    }
    pairs_.erase(pair);
    std::unordered_set<Pair, PairHash> once(changed.begin(), changed.end());
    for (const Pair& p : once)
      if (const auto seen = pairs_.find(p); seen != pairs_.end() && seen->second.count > 0)
        queue_.push({seen->second.count, p});
  }

  // Every place of the pair, from the left.
  static void replace(std::vector<Symbol>& symbols, const Pair& pair, Symbol merged) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool here =
          i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
      symbols[kept++] = here ? merged : symbols[i];
      if (here) ++i;
    }
    symbols.resize(kept);
  }

  std::vector<std::string> spellings_;
  std::unordered_map<std::string, Symbol> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Seen, PairHash> pairs_;
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> queue_;
};

}  // namespace

Bpe Bpe::learn(std::span<const Lines> texts, std::int64_t merges, std::int64_t min_count) {
  if (merges < 0) value_error("Bpe::learn", "{} merges: must not be negative", merges);
  if (min_count < 1) value_error("Bpe::learn", "min_count = {}: must be at least 1", min_count);
  TokenCounts words;
  for (const Lines& lines : texts) count_tokens(lines, Unit::words, words);
  return Bpe(Learner(words)(merges, min_count));
}

}  // namespace fovea::nn::data
