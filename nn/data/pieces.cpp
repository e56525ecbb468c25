#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/nn/data/pieces.h>
#include <fovea/nn/data/utf8.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <queue>

namespace fovea::nn::data {
namespace {

// Reads little-endian integers on machines of any byte order.
class Reader {
 public:
  Reader(std::string_view bytes, std::string_view source) : rest_(bytes), source_(source) {}

  bool at_end() const { return rest_.empty(); }
  std::string_view take(std::size_t n, std::int64_t piece) {
    if (n > rest_.size())
      format_error("SentencePieceBpe", "{}: piece {}: truncated, {} bytes required, {} left",
                   source_, piece, n, rest_.size());
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  std::uint32_t word(std::int64_t piece) {
    std::uint32_t value = 0;
    const std::string_view bytes = take(4, piece);
    for (std::size_t i = 0; i < 4; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    return value;
  }

 private:
  std::string_view rest_, source_;
};

// The byte of a piece such as "<0x0A>".
std::optional<char> byte_of(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  int value = 0;
  for (const char digit : piece.substr(3, 2)) {
    const bool decimal = digit >= '0' && digit <= '9', letter = digit >= 'A' && digit <= 'F';
    if (!decimal && !letter) return std::nullopt;
    value = 16 * value + (decimal ? digit - '0' : digit - 'A' + 10);
  }
  return static_cast<char>(value);
}

// Two adjacent pieces that together are a piece. Valid as long as neither has been merged.
struct Pair {
  float score;
  std::size_t left, right;
  std::int64_t left_id, right_id, joined;
  bool operator<(const Pair& other) const {  // the largest has the best score; ties by position
    return score != other.score ? score < other.score : left > other.left;
  }
};

}  // namespace

SentencePieceBpe::SentencePieceBpe(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
  byte_ids_.fill(unk);
  if (pieces_.size() < 3)
    value_error("SentencePieceBpe", "{} pieces: must include <unk>, <bos> and <eos>",
                pieces_.size());
  for (std::size_t id = 0; id < pieces_.size(); ++id) {
    if (pieces_[id].text.empty())
      value_error("SentencePieceBpe", "text of piece {}: must not be empty", id);
    if (std::isnan(pieces_[id].score))
      value_error("SentencePieceBpe", "piece {}: score = nan: must not be NaN", id);
    if (id < 3) continue;
    const auto number = static_cast<std::int64_t>(id);
    if (const std::optional<char> byte = byte_of(pieces_[id].text)) {
      std::int64_t& of_byte = byte_ids_[static_cast<unsigned char>(*byte)];
      if (of_byte == unk) of_byte = number;
    } else {
      ids_.try_emplace(pieces_[id].text, number);
      longest_ = std::max(longest_, pieces_[id].text.size());
    }
  }
}

SentencePieceBpe SentencePieceBpe::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

SentencePieceBpe SentencePieceBpe::parse(std::string_view bytes, std::string_view source) {
  constexpr std::uint32_t longest = 1 << 16;
  Reader in(bytes, source);
  in.word(0);
  std::vector<Piece> pieces;
  while (!in.at_end()) {
    const std::int64_t id = std::ssize(pieces);
    const float score = std::bit_cast<float>(in.word(id));
    const std::uint32_t length = in.word(id);
    if (length == 0 || length > longest)
      format_error("SentencePieceBpe", "{}: piece {} has {} bytes: must have 1 to {}", source, id,
                   length, longest);
    if (std::isnan(score))
      format_error("SentencePieceBpe", "{}: piece {}: score = nan: must not be NaN", source, id);
    pieces.push_back({std::string(in.take(length, id)), score});
  }
  if (pieces.size() < 3)
    format_error("SentencePieceBpe", "{}: {} pieces: must include <unk>, <bos> and <eos>", source,
                 pieces.size());
  return SentencePieceBpe(std::move(pieces));
}

const std::string& SentencePieceBpe::piece(std::int64_t id) const {
  if (id < 0 || id >= size())
    index_error("SentencePieceBpe", "id = {}: must be in [0, {})", id, size());
  return pieces_[static_cast<std::size_t>(id)].text;
}

// Byte pieces and unk are not text: they are never merged.
bool SentencePieceBpe::is_text(std::int64_t id) const { return id != unk && !byte_of(piece(id)); }

std::int64_t SentencePieceBpe::find(std::string_view text) const {
  const auto at = ids_.find(text);
  return at == ids_.end() ? -1 : at->second;
}

// Code points, and the bytes of code points that are not a piece.
Ids SentencePieceBpe::initial_pieces(std::string_view text) const {
  Ids ids;
  while (!text.empty()) {
    const std::string_view point = text.substr(0, first_code_point(text).size);
    text.remove_prefix(point.size());
    if (const std::int64_t id = find(point); id >= 0) {
      ids.push_back(id);
      continue;
    }
    for (const char byte : point) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  }
  return ids;
}

// A linked list of pieces, and a heap of mergeable pairs. Outdated pairs in the heap are skipped:
// each merge has already added the new pairs.
Ids SentencePieceBpe::encode(std::string_view text) const {
  if (text.empty()) return {};
  Ids ids = initial_pieces(" " + std::string(text));
  const std::size_t n = ids.size();
  constexpr std::int64_t joined_away = -1;
  std::vector<std::size_t> next(n), before(n);
  std::priority_queue<Pair> pairs;
  const auto note = [&](std::size_t left, std::size_t right) {
    if (right >= n || !is_text(ids[left]) || !is_text(ids[right])) return;
    if (piece(ids[left]).size() + piece(ids[right]).size() > longest_) return;
    const std::int64_t joined = find(piece(ids[left]) + piece(ids[right]));
    if (joined < 0) return;
    pairs.push({pieces_[static_cast<std::size_t>(joined)].score, left, right, ids[left], ids[right],
                joined});
  };
  for (std::size_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    before[i] = i - 1;
    note(i, i + 1);
  }
  while (!pairs.empty()) {
    const Pair best = pairs.top();
    pairs.pop();
    if (ids[best.left] != best.left_id || ids[best.right] != best.right_id ||
        next[best.left] != best.right)
      continue;
    ids[best.left] = best.joined;
    ids[best.right] = joined_away;
    next[best.left] = next[best.right];
    if (next[best.left] < n) before[next[best.left]] = best.left;
    if (best.left > 0) note(before[best.left], best.left);
    note(best.left, next[best.left]);
  }
  std::erase(ids, joined_away);
  return ids;
}

std::string SentencePieceBpe::bytes_of(std::int64_t id) const {
  const std::string& text = piece(id);
  if (id == bos || id == eos) return "";
  if (const std::optional<char> byte = byte_of(text)) return std::string(1, *byte);
  return text;
}

std::string SentencePieceBpe::decode(std::span<const std::int64_t> ids) const {
  std::string text;
  for (const std::int64_t id : ids) text += bytes_of(id);
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

}  // namespace fovea::nn::data
