// Vocab: tokens to ids and back.
#pragma once

#include <fovea/nn/data/text.h>

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fovea::nn::data {

using Ids = std::vector<std::int64_t>;
using TokenCounts = std::map<std::string, std::int64_t, std::less<>>;

/// Adds the tokens of every line to `counts`.
void count_tokens(std::span<const std::string> lines, Unit unit, TokenCounts& counts);

struct VocabOptions {
  std::int64_t min_count = 1;                                        // rarer tokens become <unk>
  std::int64_t max_size = std::numeric_limits<std::int64_t>::max();  // with the four specials
};

/// The ids 0 .. size() - 1 and their tokens. Ids 0 to 3 are <pad>, <unk>, <bos>, <eos>. No text is
/// encoded as a special token: the text "<eos>" is an ordinary unknown word, so that input cannot
/// end a sentence or be dropped as padding.
class Vocab {
 public:
  static constexpr std::int64_t pad = 0, unk = 1, bos = 2, eos = 3;

  /// Only the special tokens.
  Vocab();

  /// Sorted by count, the most frequent first; equal counts in byte order.
  explicit Vocab(const TokenCounts& counts, VocabOptions options = {});

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

  /// The id of a token; `unk` if it has none.
  std::int64_t id(std::string_view token) const;

  /// The token of an id; "<pad>", "<unk>", "<bos>", "<eos>" for the specials.
  const std::string& token(std::int64_t id) const;

  /// One id per token; adds neither <bos> nor <eos>.
  Ids encode(std::span<const std::string> tokens) const;

  /// The tokens up to the first <eos>, where a decoder's output ends; <pad> and <bos> are omitted,
  /// <unk> is included.
  Tokens decode(std::span<const std::int64_t> ids) const;

  /// A JSON array in ASCII, for the metadata of a checkpoint: one string per token, in the order of
  /// ids. A token that is not valid UTF-8, which JSON cannot represent, is {"hex": "its bytes"}.
  std::string to_json() const;
  /// FormatError for anything else, and as soon as there are more than `max_size` tokens.
  static Vocab from_json(std::string_view json,
                         std::int64_t max_size = std::numeric_limits<std::int64_t>::max());

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // lookup by string_view, without a temporary string
  };

  void add(std::string token);

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;  // without specials
};

}  // namespace fovea::nn::data
