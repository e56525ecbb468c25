#include <fovea/core/error.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/data/vocab.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

namespace fovea::nn::data {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 4> specials = {"<pad>", "<unk>", "<bos>", "<eos>"};

bool is_special(std::string_view token) {
  return std::find(specials.begin(), specials.end(), token) != specials.end();
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    const std::string_view pair = hex.substr(at, 2);
    unsigned char byte = 0;
    const auto [end, error] = std::from_chars(pair.data(), pair.data() + pair.size(), byte, 16);
    if (error != std::errc() || end != pair.data() + 2)
      format_error("Vocab", "\"{}\": must be pairs of hexadecimal digits", hex);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

json token_to_json(const std::string& token) {
  if (find_invalid_utf8(token) == std::string::npos) return token;
  return {{"hex", to_hex(token)}};
}

std::string token_from_json(const json& entry, std::size_t id) {
  if (entry.is_string()) return entry.get<std::string>();
  if (entry.is_object() && entry.size() == 1 && entry.contains("hex") && entry["hex"].is_string())
    return from_hex(entry["hex"].get<std::string>());
  format_error("Vocab", "entry {}: must be a string or {{\"hex\": \"...\"}}", id);
}

}  // namespace

void count_tokens(std::span<const std::string> lines, Unit unit, TokenCounts& counts) {
  for (const std::string& line : lines)
    for (std::string& token : tokenize(line, unit)) ++counts[std::move(token)];
}

Vocab::Vocab() : tokens_(specials.begin(), specials.end()) {}

Vocab::Vocab(const TokenCounts& counts, VocabOptions options) : Vocab() {
  if (options.max_size < size())
    value_error("Vocab", "max_size = {}: must be at least {}, for the special tokens",
                options.max_size, size());
  std::vector<std::pair<std::string_view, std::int64_t>> kept;
  for (const auto& [token, count] : counts)
    if (count >= options.min_count && !is_special(token)) kept.emplace_back(token, count);
  // The map is in byte order; the stable sort keeps it for equal counts.
  std::stable_sort(kept.begin(), kept.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  const auto room = static_cast<std::size_t>(options.max_size - size());
  if (kept.size() > room) kept.resize(room);
  for (const auto& [token, count] : kept) add(std::string(token));
}

void Vocab::add(std::string token) {
  if (is_special(token)) format_error("Vocab", "{}: must not be an ordinary token", token);
  if (!ids_.emplace(token, size()).second) format_error("Vocab", "\"{}\": must appear once", token);
  tokens_.push_back(std::move(token));
}

std::int64_t Vocab::id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? unk : found->second;
}

const std::string& Vocab::token(std::int64_t id) const {
  if (id < 0 || id >= size()) index_error("Vocab", "id = {}: must be in [0, {})", id, size());
  return tokens_[static_cast<std::size_t>(id)];
}

Ids Vocab::encode(std::span<const std::string> tokens) const {
  Ids ids;
  ids.reserve(tokens.size() + 2);  // the caller often adds <bos> or <eos>
  for (const std::string& token : tokens) ids.push_back(id(token));
  return ids;
}

Tokens Vocab::decode(std::span<const std::int64_t> ids) const {
  Tokens tokens;
  for (const std::int64_t id : ids) {
    if (id == eos) break;
    if (id != pad && id != bos) tokens.push_back(token(id));
  }
  return tokens;
}

std::string Vocab::to_json() const {
  json entries = json::array();
  for (const std::string& token : tokens_) entries.push_back(token_to_json(token));
  return entries.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/true);
}

Vocab Vocab::from_json(std::string_view text, std::int64_t max_size) {
  std::int64_t count = 0;
  const auto count_entries = [&](int depth, json::parse_event_t event, const json&) {
    const bool is_entry = depth == 1 && (event == json::parse_event_t::value ||
                                         event == json::parse_event_t::object_start ||
                                         event == json::parse_event_t::array_start);
    if (is_entry && ++count > max_size)
      format_error("Vocab", "more than {} tokens: must be at most max_size", max_size);
    return true;
  };
  const json entries = json::parse(text, count_entries, /*allow_exceptions=*/false);
  if (!entries.is_array()) format_error("Vocab", "must be a JSON array of tokens");
  Vocab vocab;
  for (std::size_t id = 0; id < specials.size(); ++id)
    if (id >= entries.size() || entries[id] != specials[id])
      format_error("Vocab", "entry {}: must be {}", id, specials[id]);
  for (std::size_t id = specials.size(); id < entries.size(); ++id)
    vocab.add(token_from_json(entries[id], id));
  return vocab;
}

}  // namespace fovea::nn::data
