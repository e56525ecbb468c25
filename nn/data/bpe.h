// Byte-pair encoding: words as sequences of frequent subwords, so that a small vocabulary covers
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

/// A list of merges, most important first. A word is split into its characters, the last of them
/// marked "</w>"; then the adjacent pair with the first rank in the list is merged into one piece,
/// until no pair is in the list. All pieces but the last of a word get the suffix "@@": "lowest"
/// may become "low@@ est".
///
/// Source: Sennrich, Haddow, Birch: Neural Machine Translation of Rare Words with Subword Units,
/// ACL 2016, section 3.2. Files and ties are subword-nmt's, version 0.2.
class SubwordNmtBpe {
 public:
  using Merge = std::pair<std::string, std::string>;

  /// No merges: every character is a piece.
  SubwordNmtBpe() = default;

  /// A pair that appears twice (learning may find it again, with its pieces merged in another way)
  /// has its first rank. ValueError for a piece that is empty or contains a blank.
  explicit SubwordNmtBpe(std::vector<Merge> merges);

  /// Reads "#version: 0.2" and one merge per line, two pieces separated by a blank. FormatError
  /// names the file and the line.
  static SubwordNmtBpe read(const std::filesystem::path& codes);
  /// The same from memory; `name` is the file name in errors.
  static SubwordNmtBpe parse(std::string_view codes, std::string_view name);
  /// The file contents that read() reads.
  std::string str() const;

  /// Learns up to `merges` merges from all texts together: in each step the most frequent adjacent
  /// pair in their words, for equal counts the greater pair (by the bytes of the first piece, then
  /// of the second). Stops early when no pair occurs at least `min_count` times.
  static SubwordNmtBpe learn(std::span<const Lines> texts, std::int64_t merges,
                             std::int64_t min_count = 2);

  const std::vector<Merge>& merges() const { return merges_; }

  /// The pieces of one word, and of the words of a line.
  Tokens encode_word(std::string_view word) const;
  Tokens encode(std::string_view line) const;

  /// The line of these pieces, with single blanks between words. A word of the text itself that
  /// ends in "@@" cannot be distinguished from a piece, and loses the "@@".
  static std::string join(std::span<const std::string> pieces);

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // lookup by string_view, without a temporary string
  };
  class WordEncoder;
  struct Rule {
    std::int64_t rank;    // index in the list
    std::int32_t merged;  // the symbol of the merged pair
  };

  std::int32_t symbol(std::string_view spelling) const;
  std::int32_t add_symbol(const std::string& spelling);

  std::vector<Merge> merges_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> symbols_;
  std::unordered_map<std::uint64_t, Rule> rules_;  // by the pair of symbols
};

}  // namespace fovea::nn::data
