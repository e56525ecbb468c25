// Pieces: SentencePiece's byte-pair tokeniser with scores, as llama2.c stores it (tok512.bin).
#pragma once

#include <fovea/nn/data/vocab.h>

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fovea::nn::data {

/// Cuts text into known pieces: it starts as code points (one that is no piece becomes its bytes,
/// the pieces "<0x00>" to "<0xFF>"), and as long as two neighbours together are a piece, the pair
/// whose piece has the best score is joined, of equals the first. A blank is put before the text,
/// as before each of its words. Where every byte has its piece, any bytes come back the same from
/// decode(encode(text)).
/// Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units, section 3.2;
/// Kudo and Richardson 2018, SentencePiece.
class Pieces {
 public:
  static constexpr std::int64_t unk = 0, bos = 1, eos = 2;

  struct Piece {
    std::string text;
    float score = 0;
  };

  /// Pieces 0 to 2 are the three above, whatever their texts. ValueError for fewer, or a piece
  /// without text or with a NaN as its score; of equal texts the first
  /// counts.
  explicit Pieces(std::vector<Piece> pieces);

  /// A file: int32 length of the longest, then for each piece float32 score, int32 length, bytes;
  /// all little endian. FormatError names the file and the piece.
  static Pieces read(const std::filesystem::path& path);
  static Pieces parse(std::string_view bytes, std::string_view source);

  std::int64_t size() const { return static_cast<std::int64_t>(pieces_.size()); }
  const std::string& piece(std::int64_t id) const;  ///< as it is written; IndexError

  /// Without <bos> and <eos>. A byte that has no piece becomes `unk`.
  Ids encode(std::string_view text) const;

  /// The bytes that a piece stands for: "<0x0A>" is one byte, and <bos> and <eos> are none.
  std::string bytes_of(std::int64_t id) const;
  /// All of them, without the blank that encode() put in front.
  std::string decode(std::span<const std::int64_t> ids) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // look-ups by string_view make no string
  };

  std::int64_t find(std::string_view text) const;  // -1: no piece
  bool is_text(std::int64_t id) const;
  Ids first_cut(std::string_view text) const;

  std::vector<Piece> pieces_;
  // The text "<0x0A>" is no newline: the pieces of bytes are found by their bytes only.
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;
  std::size_t longest_ = 0;                 // of the texts in ids_
  std::array<std::int64_t, 256> byte_ids_;  // `unk` where a byte has no piece
};

}  // namespace fovea::nn::data
