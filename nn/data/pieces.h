// SentencePieceBpe: SentencePiece's byte-pair tokenizer with scores, as llama2.c stores it
// (tok512.bin).
#pragma once

#include <fovea/nn/data/vocab.h>

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fovea::nn::data {

/// Splits text into the pieces of a vocabulary. It starts with code points (a code point that is
/// not a piece becomes its bytes, the pieces "<0x00>" to "<0xFF>"). While two adjacent pieces
/// together are a piece, the pair with the best score is merged, for equal scores the first. A
/// blank is added before the text, as before each of its words. If every byte has a piece,
/// decode(encode(text)) returns any text unchanged. Sennrich et al. 2016, Neural Machine
/// Translation of Rare Words with Subword Units, section 3.2; Kudo and Richardson 2018,
/// SentencePiece.
class SentencePieceBpe {
 public:
  static constexpr std::int64_t unk = 0, bos = 1, eos = 2;

  struct Piece {
    std::string text;
    float score = 0;
  };

  /// Pieces 0 to 2 are unk, bos and eos, whatever their texts. ValueError for fewer than 3 pieces,
  /// and for a piece without text or with the score NaN; of equal texts the first is used.
  explicit SentencePieceBpe(std::vector<Piece> pieces);

  /// File format: int32 length of the longest piece, then for each piece float32 score, int32
  /// length, bytes; all little endian. FormatError names the file and the piece.
  static SentencePieceBpe read(const std::filesystem::path& path);
  static SentencePieceBpe parse(std::string_view bytes, std::string_view source);

  std::int64_t size() const { return static_cast<std::int64_t>(pieces_.size()); }
  const std::string& piece(std::int64_t id) const;  ///< its text in the vocabulary; IndexError

  /// Without <bos> and <eos>. A byte that has no piece becomes `unk`.
  Ids encode(std::string_view text) const;

  /// The bytes of a piece: "<0x0A>" is one byte, and <bos> and <eos> are empty.
  std::string bytes_of(std::int64_t id) const;
  /// The bytes of all pieces, without the blank that encode() adds at the start.
  std::string decode(std::span<const std::int64_t> ids) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // lookup by string_view, without a temporary string
  };

  std::int64_t find(std::string_view text) const;  // -1: no piece
  bool is_text(std::int64_t id) const;
  Ids initial_pieces(std::string_view text) const;

  std::vector<Piece> pieces_;
  // Without the byte pieces: the text "<0x0A>" is not a newline.
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;
  std::size_t longest_ = 0;                 // of the texts in ids_
  std::array<std::int64_t, 256> byte_ids_;  // `unk` if a byte has no piece
};

}  // namespace fovea::nn::data
