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

/// The ids 0 .. size() - 1 and the tokens they stand for. Ids 0 to 3 are <pad>, <unk>, <bos>,
/// <eos>. No text can produce a special: a token that is spelled "<eos>" is an unknown word like
/// any other, so that input cannot end a sentence or vanish as padding.
class Vocab {
 public:
  static constexpr std::int64_t pad = 0, unk = 1, bos = 2, eos = 3;

  /// The specials alone.
  Vocab();

  /// The commonest tokens first; among equally common ones, the lesser bytes first.
  explicit Vocab(const TokenCounts& counts, VocabOptions options = {});

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

  /// The id of a token; `unk` where it has none.
  std::int64_t id(std::string_view token) const;

  /// The token of an id; "<pad>", "<unk>", "<bos>", "<eos>" for the specials.
  const std::string& token(std::int64_t id) const;

  /// One id a token; adds neither <bos> nor <eos>.
  Ids encode(std::span<const std::string> tokens) const;

  /// The tokens up to the first <eos>, which is where a decoder's output ends; <pad> and <bos> are
  /// left out, <unk> stays visible.
  Tokens decode(std::span<const std::int64_t> ids) const;

  /// A JSON array in ASCII, to be kept in a checkpoint's metadata: one string a token, in order of
  /// ids. A token that is not valid UTF-8, which JSON cannot spell, is {"hex": "its bytes"}.
  std::string to_json() const;
  /// FormatError for anything else, and as soon as there are more than `max_size` tokens.
  static Vocab from_json(std::string_view json,
                         std::int64_t max_size = std::numeric_limits<std::int64_t>::max());

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;  // look-ups by string_view make no string
  };

  void add(std::string token);

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;  // without specials
};

}  // namespace fovea::nn::data
