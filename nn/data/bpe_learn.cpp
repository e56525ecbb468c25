// SubwordNmtBpe::learn().
#include <fovea/core/error.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/vocab.h>

#include <algorithm>
#include <limits>
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

// All words as one linked list of symbols. A merge updates the counts and positions of only the
// pairs that it changes: O(n log n) in total for n characters in distinct words.
class Learner {
 public:
  explicit Learner(const TokenCounts& words) : queue_(Worse{this}) {
    for (const auto& [word, count] : words) add_word(word, count);
    for (std::size_t i = 0; i < symbols_.size(); ++i) add_pair(i);
    for (const auto& [pair, stats] : pairs_) queue_.push({stats.count, pair});
  }

  std::vector<SubwordNmtBpe::Merge> operator()(std::int64_t merges, std::int64_t min_count) {
    std::vector<SubwordNmtBpe::Merge> learned;
    while (static_cast<std::int64_t>(learned.size()) < merges && find_most_frequent() &&
           queue_.top().count >= min_count) {
      const Pair best = queue_.top().pair;
      learned.emplace_back(spelling(best.first), spelling(best.second));
      merge(best);
    }
    return learned;
  }

 private:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  // A symbol of a word; previous and next are in the same word.
  struct Node {
    Symbol symbol;
    std::int64_t count;  // of the word
    std::size_t previous, next;
  };
  struct PairStats {
    std::int64_t count = 0;
    std::vector<std::size_t> positions;  // of the first symbol; may include outdated ones
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
    const auto [found, is_new] = ids_.emplace(spelled, static_cast<Symbol>(spellings_.size()));
    if (is_new) spellings_.push_back(spelled);
    return found->second;
  }

  void add_word(const std::string& word, std::int64_t count) {
    Tokens characters = tokenize(word, Unit::characters);
    characters.back() += "</w>";
    for (std::size_t i = 0; i < characters.size(); ++i) {
      const std::size_t at = symbols_.size();
      symbols_.push_back({symbol(characters[i]), count, i > 0 ? at - 1 : none,
                          i + 1 < characters.size() ? at + 1 : none});
    }
  }

  Pair pair_at(std::size_t left) const {
    return {symbols_[left].symbol, symbols_[symbols_[left].next].symbol};
  }

  void add_pair(std::size_t left) {
    if (left == none || symbols_[left].next == none) return;
    PairStats& stats = pairs_[pair_at(left)];
    stats.count += symbols_[left].count;
    stats.positions.push_back(left);
  }

  void remove_pair(std::size_t left) {
    if (left == none || symbols_[left].next == none) return;
    pairs_[pair_at(left)].count -= symbols_[left].count;
  }

  // The queue has an entry for every count that a pair has had. Removes outdated entries from the
  // top; false if no pair is left.
  bool find_most_frequent() {
    while (!queue_.empty()) {
      const Candidate& top = queue_.top();
      const auto stats = pairs_.find(top.pair);
      if (stats != pairs_.end() && stats->second.count == top.count && top.count > 0) return true;
      queue_.pop();
    }
    return false;
  }

  // Merges every occurrence of the pair, from the left.
  void merge(const Pair& pair) {
    const Symbol merged = symbol(spelling(pair.first) + spelling(pair.second));
    std::vector<std::size_t> positions = std::move(pairs_[pair].positions);
    std::sort(positions.begin(), positions.end());
    std::unordered_set<Pair, PairHash> changed;
    for (const std::size_t left : positions) {
      if (symbols_[left].next == none || !(pair_at(left) == pair)) continue;
      const std::size_t right = symbols_[left].next, before = symbols_[left].previous;
      for (const std::size_t at : {before, left, right}) {
        if (at != none && symbols_[at].next != none) changed.insert(pair_at(at));
        remove_pair(at);
      }
      join(left, right, merged);
      for (const std::size_t at : {before, left}) {
        add_pair(at);
        if (at != none && symbols_[at].next != none) changed.insert(pair_at(at));
      }
    }
    pairs_.erase(pair);
    for (const Pair& p : changed)
      if (const auto stats = pairs_.find(p); stats != pairs_.end() && stats->second.count > 0)
        queue_.push({stats->second.count, p});
  }

  void join(std::size_t left, std::size_t right, Symbol merged) {
    const std::size_t after = symbols_[right].next;
    symbols_[left].symbol = merged;
    symbols_[left].next = after;
    symbols_[right].next = none;  // no pair starts here any more
    if (after != none) symbols_[after].previous = left;
  }

  std::vector<std::string> spellings_;
  std::unordered_map<std::string, Symbol> ids_;
  std::vector<Node> symbols_;
  std::unordered_map<Pair, PairStats, PairHash> pairs_;
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> queue_;
};

}  // namespace

SubwordNmtBpe SubwordNmtBpe::learn(std::span<const Lines> texts, std::int64_t merges,
                                   std::int64_t min_count) {
  if (merges < 0) value_error("SubwordNmtBpe::learn", "{} merges: must not be negative", merges);
  if (min_count < 1)
    value_error("SubwordNmtBpe::learn", "min_count = {}: must be at least 1", min_count);
  TokenCounts words;
  for (const Lines& lines : texts) count_tokens(lines, Unit::words, words);
  return SubwordNmtBpe(Learner(words)(merges, min_count));
}

}  // namespace fovea::nn::data
