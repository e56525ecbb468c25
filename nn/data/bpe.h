// Byte-pair encoding: words as sequences of frequent pieces, so that a small vocabulary spells
// every word.
#pragma once

#include <fovea/nn/data/text.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fovea::nn::data {

/// A list of merges, most important first. A word is cut into its characters, the last of them
/// marked "</w>"; then, again and again, the pair of neighbours that stands first in the list
/// becomes one piece. All pieces but a word's last are written with "@@" behind them: "lowest"
/// may become "low@@ est".
///
/// Source: Sennrich, Haddow, Birch: Neural Machine Translation of Rare Words with Subword Units,
/// ACL 2016, section 3.2. Files and ties are subword-nmt's, version 0.2.
class Bpe {
 public:
  using Merge = std::pair<std::string, std::string>;

  /// No merges: every character is a piece.
  Bpe() = default;

  /// A pair that comes twice (a learner may find it again, its pieces made in other ways) counts
  /// where it stands first. ValueError for a piece that is empty or has a blank in it.
  explicit Bpe(std::vector<Merge> merges);

  /// Reads "#version: 0.2" and a merge a line, two pieces with a blank between. FormatError names
  /// the file and the line.
  static Bpe read(const std::filesystem::path& codes);
  /// The same from memory; `name` stands for the file in errors.
  static Bpe parse(std::string_view codes, std::string_view name);
  /// What read() reads.
  std::string str() const;

  /// The `merges` best merges of these texts, together: each time the pair of neighbours that is
  /// commonest in their words, of equally common ones the greater (its first piece's bytes, then
  /// its second's). Fewer where none is left that comes at least `min_count` times.
  static Bpe learn(std::span<const Lines> texts, std::int64_t merges, std::int64_t min_count = 2);

  const std::vector<Merge>& merges() const { return merges_; }

  /// The pieces of one word, and of a line's words.
  Tokens encode_word(std::string_view word) const;
  Tokens encode(std::string_view line) const;

  /// The line that pieces spell, single blanks between words. A word of the text itself that ends
  /// in "@@" cannot be told from a piece, and loses them.
  static std::string join(std::span<const std::string> pieces);

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // look-ups by string_view make no string
  };
  class WordEncoder;
  struct Rule {
    std::int64_t rank;    // place in the list
    std::int32_t merged;  // the symbol that the pair becomes
  };

  std::int32_t symbol(std::string_view spelling) const;
  std::int32_t add_symbol(const std::string& spelling);

  std::vector<Merge> merges_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> symbols_;
  std::unordered_map<std::uint64_t, Rule> rules_;  // by the pair of symbols
};

}  // namespace fovea::nn::data
