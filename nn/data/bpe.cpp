#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/utf8.h>

#include <functional>
#include <queue>
#include <tuple>

#include <fmt/format.h>

namespace fovea::nn::data {
namespace {

constexpr std::string_view header = "#version: 0.2";
constexpr std::string_view word_end = "</w>";
constexpr std::string_view continuation = "@@";
constexpr std::int32_t no_symbol = -1;

std::uint64_t key_of(std::int32_t first, std::int32_t second) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(first)) << 32 |
         static_cast<std::uint32_t>(second);
}

// A piece of a word, as a node of a linked list.
struct Piece {
  std::size_t begin, end;
  std::int32_t symbol;  // merged_away: part of the piece before it
  std::size_t previous, next;
};

constexpr std::int32_t merged_away = -2;

// Two adjacent pieces with a rule. Valid as long as neither has been merged.
struct Candidate {
  std::int64_t rank;
  std::size_t left;
  std::uint64_t key;
  std::int32_t merged;
  bool operator>(const Candidate& other) const {
    return std::tie(rank, left) > std::tie(other.rank, other.left);
  }
};

SubwordNmtBpe::Merge parse_merge(std::string_view line, std::string_view name, std::size_t number) {
  const Tokens pieces = tokenize(line, Unit::words);
  if (pieces.size() != 2)
    format_error("SubwordNmtBpe", "{}:{}: '{}': must be two pieces separated by a blank", name,
                 number, line);
  return {pieces[0], pieces[1]};
}

void check_piece(const std::string& piece) {
  const Tokens words = tokenize(piece, Unit::words);
  if (words.size() != 1 || words[0] != piece)
    value_error("SubwordNmtBpe", "piece '{}': must not {}", piece,
                piece.empty() ? "be empty" : "contain blanks");
}

}  // namespace

SubwordNmtBpe::SubwordNmtBpe(std::vector<Merge> merges) : merges_(std::move(merges)) {
  for (std::size_t i = 0; i < merges_.size(); ++i) {
    const auto& [first, second] = merges_[i];
    check_piece(first);
    check_piece(second);
    const std::uint64_t key = key_of(add_symbol(first), add_symbol(second));
    rules_.emplace(key, Rule{static_cast<std::int64_t>(i), add_symbol(first + second)});
  }
}

SubwordNmtBpe SubwordNmtBpe::read(const std::filesystem::path& codes) {
  return parse(read_file(codes), codes.string());
}

SubwordNmtBpe SubwordNmtBpe::parse(std::string_view codes, std::string_view name) {
  std::vector<Merge> merges;
  for (std::size_t number = 1; !codes.empty(); ++number) {
    const std::size_t end = std::min(codes.find('\n'), codes.size());
    std::string_view line = codes.substr(0, end);
    codes.remove_prefix(std::min(end + 1, codes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1) {
      if (line != header)
        format_error("SubwordNmtBpe", "{}:1: '{}': must be '{}', the header of a codes file", name,
                     line.substr(0, 40), header);
      continue;
    }
    if (find_invalid_utf8(line) != std::string_view::npos)
      format_error("SubwordNmtBpe", "{}:{}: not valid UTF-8", name, number);
    merges.push_back(parse_merge(line, name, number));
  }
  if (merges.empty()) format_error("SubwordNmtBpe", "{}: 0 merges: must be at least 1", name);
  return SubwordNmtBpe(std::move(merges));
}

std::string SubwordNmtBpe::str() const {
  std::string text = fmt::format("{}\n", header);
  for (const auto& [first, second] : merges_) text += fmt::format("{} {}\n", first, second);
  return text;
}

std::int32_t SubwordNmtBpe::symbol(std::string_view spelling) const {
  const auto found = symbols_.find(spelling);
  return found == symbols_.end() ? no_symbol : found->second;
}

std::int32_t SubwordNmtBpe::add_symbol(const std::string& spelling) {
  return symbols_.emplace(spelling, static_cast<std::int32_t>(symbols_.size())).first->second;
}

// O(n log n): a linked list of pieces, and a queue of adjacent pairs by rank, then position. New
// pairs enter the queue after all merges of the current rule: a rule is applied everywhere first.
class SubwordNmtBpe::WordEncoder {
 public:
  WordEncoder(const SubwordNmtBpe& bpe, std::string_view word) : bpe_(bpe), word_(word) {
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t end = at + first_code_point(word.substr(at)).size;
      const std::string_view character = word.substr(at, end - at);
      const std::int32_t symbol = end < word.size()
                                      ? bpe.symbol(character)
                                      : bpe.symbol(fmt::format("{}{}", character, word_end));
      const std::size_t i = pieces_.size();
      pieces_.push_back({at, end, symbol, i - 1, i + 1});
      at = end;
    }
    for (std::size_t i = 0; i < pieces_.size(); ++i) add_candidate(i);
  }

  Tokens operator()() {
    std::vector<std::size_t> merged;
    while (!candidates_.empty()) {
      const std::int64_t rank = candidates_.top().rank;
      for (merged.clear(); !candidates_.empty() && candidates_.top().rank == rank;) {
        if (merge(candidates_.top())) merged.push_back(candidates_.top().left);
        candidates_.pop();
      }
      for (const std::size_t i : merged) {
        if (i > 0) add_candidate(pieces_[i].previous);
        add_candidate(i);
      }
    }
    return spelled();
  }

 private:
  void add_candidate(std::size_t left) {
    const std::size_t right = pieces_[left].next;
    if (right >= pieces_.size()) return;
    const std::uint64_t key = key_of(pieces_[left].symbol, pieces_[right].symbol);
    const auto rule = bpe_.rules_.find(key);
    if (rule == bpe_.rules_.end()) return;
    candidates_.push({rule->second.rank, left, key, rule->second.merged});
  }

  bool merge(const Candidate& candidate) {
    Piece& left = pieces_[candidate.left];
    if (left.symbol == merged_away || left.next >= pieces_.size()) return false;
    Piece& right = pieces_[left.next];
    if (key_of(left.symbol, right.symbol) != candidate.key) return false;
    left.symbol = candidate.merged;
    left.end = right.end;
    left.next = right.next;
    right.symbol = merged_away;
    if (left.next < pieces_.size()) pieces_[left.next].previous = candidate.left;
    return true;
  }

  Tokens spelled() const {
    Tokens tokens;
    for (std::size_t i = 0; i < pieces_.size(); i = pieces_[i].next) {
      tokens.emplace_back(word_.substr(pieces_[i].begin, pieces_[i].end - pieces_[i].begin));
      if (pieces_[i].end < word_.size()) tokens.back() += continuation;
    }
    return tokens;
  }

  const SubwordNmtBpe& bpe_;
  std::string_view word_;
  std::vector<Piece> pieces_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

Tokens SubwordNmtBpe::encode_word(std::string_view word) const {
  return WordEncoder(*this, word)();
}

Tokens SubwordNmtBpe::encode(std::string_view line) const {
  Tokens pieces;
  for (const std::string& word : tokenize(line, Unit::words))
    for (std::string& piece : encode_word(word)) pieces.push_back(std::move(piece));
  return pieces;
}

std::string SubwordNmtBpe::join(std::span<const std::string> pieces) {
  std::string line;
  bool inside_word = true;  // no blank before the first piece
  for (const std::string& piece : pieces) {
    if (!inside_word) line += ' ';
    inside_word = piece.ends_with(continuation);
    line +=
        std::string_view(piece).substr(0, piece.size() - (inside_word ? continuation.size() : 0));
  }
  return line;
}

}  // namespace fovea::nn::data
