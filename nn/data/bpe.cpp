#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/nn/data/bpe.h>
#include <fovea/nn/data/utf8.h>

#include <fmt/format.h>

namespace fovea::nn::data {
namespace {

constexpr std::string_view header = "#version: 0.2";
constexpr std::string_view word_end = "</w>";
constexpr std::string_view goes_on = "@@";
constexpr std::int32_t no_symbol = -1;

std::uint64_t key_of(std::int32_t first, std::int32_t second) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(first)) << 32 |
         static_cast<std::uint32_t>(second);
}

// A stretch of a word, and the symbol that it is.
struct Piece {
  std::size_t begin, end;
  std::int32_t symbol;
};

Bpe::Merge parse_merge(std::string_view line, std::string_view name, std::size_t number) {
  const Tokens pieces = tokenize(line, Unit::words);
  if (pieces.size() != 2)
    format_error("Bpe", "{}:{}: '{}' is not two pieces with a blank between", name, number, line);
  return {pieces[0], pieces[1]};
}

void check_piece(const std::string& piece) {
  const Tokens words = tokenize(piece, Unit::words);
  if (words.size() != 1 || words[0] != piece)
    value_error("Bpe", "the piece '{}' is {}", piece,
                piece.empty() ? "empty" : "not free of blanks");
}

}  // namespace

Bpe::Bpe(std::vector<Merge> merges) : merges_(std::move(merges)) {
  for (std::size_t i = 0; i < merges_.size(); ++i) {
    const auto& [first, second] = merges_[i];
    check_piece(first);
    check_piece(second);
    const std::uint64_t key = key_of(add_symbol(first), add_symbol(second));
    rules_.emplace(key, Rule{static_cast<std::int64_t>(i), add_symbol(first + second)});
  }
}

Bpe Bpe::read(const std::filesystem::path& codes) {
  return parse(read_file(codes), codes.string());
}

Bpe Bpe::parse(std::string_view codes, std::string_view name) {
  std::vector<Merge> merges;
  for (std::size_t number = 1; !codes.empty(); ++number) {
    const std::size_t end = std::min(codes.find('\n'), codes.size());
    std::string_view line = codes.substr(0, end);
    codes.remove_prefix(std::min(end + 1, codes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1) {
      if (line != header)
        format_error("Bpe", "{}:1: '{}' where '{}' must stand: it is no codes file of that version",
                     name, line.substr(0, 40), header);
      continue;
    }
    if (find_invalid_utf8(line) != std::string_view::npos)
      format_error("Bpe", "{}:{}: not valid UTF-8", name, number);
    merges.push_back(parse_merge(line, name, number));
  }
  if (merges.empty()) format_error("Bpe", "{}: there are no merges in it", name);
  return Bpe(std::move(merges));
}

std::string Bpe::str() const {
  std::string text = fmt::format("{}\n", header);
  for (const auto& [first, second] : merges_) text += fmt::format("{} {}\n", first, second);
  return text;
}

std::int32_t Bpe::symbol(std::string_view spelling) const {
  const auto found = symbols_.find(spelling);
  return found == symbols_.end() ? no_symbol : found->second;
}

std::int32_t Bpe::add_symbol(const std::string& spelling) {
  return symbols_.emplace(spelling, static_cast<std::int32_t>(symbols_.size())).first->second;
}

Tokens Bpe::encode_word(std::string_view word) const {
  std::vector<Piece> pieces;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t end = at + first_code_point(word.substr(at)).size;
    const std::string_view character = word.substr(at, end - at);
    pieces.push_back(
        {at, end,
         end < word.size() ? symbol(character) : symbol(fmt::format("{}{}", character, word_end))});
    at = end;
  }
  while (pieces.size() > 1) {
    const Rule* best = nullptr;
    std::uint64_t best_key = 0;
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
      const std::uint64_t key = key_of(pieces[i].symbol, pieces[i + 1].symbol);
      const auto rule = rules_.find(key);
      if (rule == rules_.end() || (best && rule->second.rank >= best->rank)) continue;
      best = &rule->second;
      best_key = key;
    }
    if (!best) break;
    std::size_t kept = 0;  // every place of the pair, from the left
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool merge =
          i + 1 < pieces.size() && key_of(pieces[i].symbol, pieces[i + 1].symbol) == best_key;
      pieces[kept] = pieces[i];
      if (merge) pieces[kept] = {pieces[i].begin, pieces[++i].end, best->merged};
      ++kept;
    }
    pieces.resize(kept);
  }
  Tokens spelled;
  for (const Piece& piece : pieces) {
    spelled.emplace_back(word.substr(piece.begin, piece.end - piece.begin));
    if (piece.end < word.size()) spelled.back() += goes_on;
  }
  return spelled;
}

Tokens Bpe::encode(std::string_view line) const {
  Tokens pieces;
  for (const std::string& word : tokenize(line, Unit::words))
    for (std::string& piece : encode_word(word)) pieces.push_back(std::move(piece));
  return pieces;
}

std::string Bpe::join(std::span<const std::string> pieces) {
  std::string line;
  bool word_goes_on = true;  // nothing stands before the first piece
  for (const std::string& piece : pieces) {
    if (!word_goes_on) line += ' ';
    word_goes_on = piece.ends_with(goes_on);
    line += std::string_view(piece).substr(0, piece.size() - (word_goes_on ? goes_on.size() : 0));
  }
  return line;
}

}  // namespace fovea::nn::data
