#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/nn/inspect/report.h>
#include <fovea/nn/inspect/svg.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

#include <nlohmann/json.hpp>

namespace fovea::nn::inspect {

// The page without title and data: the files of report_page/, combined by CMake.
extern const std::string_view report_page_template;

namespace {

using Json = nlohmann::json;

constexpr double rounding = 1e-4;  // tolerated excess over 1, from sums in f32
constexpr std::size_t most_tokens = std::numeric_limits<std::uint16_t>::max();

std::string base64(const std::string& bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j)
      text += j <= count ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

void append_little_endian(std::string& bytes, std::uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 255);
}

// A row: its number of weights without trailing zeros (16 bits), its largest weight (a 32-bit
// float), and the weights in units of 1/255 of the largest.
void append_row(std::string& bytes, const float* row, std::size_t S) {
  const float largest = S == 0 ? 0 : std::max(0.0f, *std::max_element(row, row + S));
  const auto level = [&](float weight) {
    return largest > 0 ? static_cast<int>(std::lround(std::max(0.0f, weight) / largest * 255)) : 0;
  };
  std::size_t kept = S;
  while (kept > 0 && level(row[kept - 1]) == 0) --kept;
  append_little_endian(bytes, static_cast<std::uint32_t>(kept), 2);
  append_little_endian(bytes, std::bit_cast<std::uint32_t>(largest), 4);
  for (std::size_t s = 0; s < kept; ++s) bytes += static_cast<char>(level(row[s]));
}

// The index of the sentence's sequence with this name.
std::size_t sequence_index(const ReportSentence& sentence, const std::string& name,
                           const std::string& user) {
  for (std::size_t i = 0; i < sentence.sequences.size(); ++i)
    if (sentence.sequences[i].name == name) return i;
  std::vector<std::string> names;
  for (const TokenSequence& sequence : sentence.sequences) names.push_back(sequence.name);
  value_error("report", "\"{}\": sequence of {} \"{}\": must be one of [{}]", sentence.title, user,
              name, fmt::join(names, ", "));
}

void check_weights(const ReportSentence& sentence, const AttentionMap& map, std::size_t T,
                   std::size_t S) {
  const auto heads = static_cast<std::size_t>(std::max<std::int64_t>(0, map.heads));
  if (heads == 0 || map.weights.size() != heads * T * S)
    shape_error("report",
                "\"{}\": {} has {} weights: for {} heads, {} queries and {} keys must be {}",
                sentence.title, map.layer, map.weights.size(), map.heads, T, S, heads * T * S);
  for (std::size_t i = 0; i < map.weights.size(); ++i)
    if (!(map.weights[i] >= -rounding && map.weights[i] <= 1 + rounding))
      value_error("report", "\"{}\": {}: weight {} of head {}, query {}, key {}: must be in [0, 1]",
                  sentence.title, map.layer, map.weights[i], i / (T * S), i / S % T, i % S);
}

Json json_of(const ReportSentence& sentence, const AttentionMap& map) {
  const std::size_t queries = sequence_index(sentence, map.queries, map.layer);
  const std::size_t keys = sequence_index(sentence, map.keys, map.layer);
  const std::size_t T = sentence.sequences[queries].tokens.size();
  const std::size_t S = sentence.sequences[keys].tokens.size();
  check_weights(sentence, map, T, S);
  std::string bytes;
  for (std::size_t row = 0; row < static_cast<std::size_t>(map.heads) * T; ++row)
    append_row(bytes, map.weights.data() + row * S, S);
  return {{"layer", map.layer},
          {"mechanism", map.mechanism},
          {"kind", map.kind == AttentionKind::self ? "self" : "cross"},
          {"queries", queries},
          {"keys", keys},
          {"heads", map.heads},
          {"weights", base64(bytes)}};
}

Json json_of(const ReportSentence& sentence, const TokenEvidence& evidence) {
  const std::size_t index = sequence_index(sentence, evidence.sequence, "evidence");
  const std::size_t tokens = sentence.sequences[index].tokens.size();
  if (evidence.weights.size() != tokens)
    shape_error("report", "\"{}\": evidence has {} weights for {} tokens: must be equal",
                sentence.title, evidence.weights.size(), tokens);
  Json weights = Json::array();
  for (const float weight : evidence.weights) {
    if (!std::isfinite(weight))
      value_error("report", "\"{}\": evidence weight {}: must be finite", sentence.title, weight);
    weights.push_back(Json::parse(fmt::format("{:.4g}", weight)));
  }
  return {{"sequence", index},
          {"label", evidence.label},
          {"weights", std::move(weights)},
          {"positive", evidence.positive},
          {"negative", evidence.negative}};
}

Json json_of(const ReportSentence& sentence) {
  Json json = {{"title", sentence.title},
               {"prediction", sentence.prediction},
               {"sequences", Json::array()},
               {"maps", Json::array()},
               {"evidence", nullptr}};
  for (const TokenSequence& sequence : sentence.sequences) {
    if (sequence.tokens.size() > most_tokens)
      value_error("report", "\"{}\": {} has {} tokens: must be at most {}", sentence.title,
                  sequence.name, sequence.tokens.size(), most_tokens);
    json["sequences"].push_back({{"name", sequence.name}, {"tokens", sequence.tokens}});
  }
  for (const AttentionMap& map : sentence.maps) json["maps"].push_back(json_of(sentence, map));
  if (!sentence.evidence.weights.empty()) json["evidence"] = json_of(sentence, sentence.evidence);
  return json;
}

// JSON that is safe in a <script>: no text can end the element, start a comment, or be a line
// terminator of JavaScript. Invalid UTF-8 becomes "�".
std::string script_text(const Json& json) {
  constexpr std::pair<std::string_view, std::string_view> escapes[] = {{"<", "\\u003c"},
                                                                       {">", "\\u003e"},
                                                                       {"&", "\\u0026"},
                                                                       {"\u2028", "\\u2028"},
                                                                       {"\u2029", "\\u2029"}};
  const std::string dumped = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string text;
  for (std::string_view rest = dumped; !rest.empty();) {
    const auto* escape = std::find_if(std::begin(escapes), std::end(escapes),
                                      [&](const auto& e) { return rest.starts_with(e.first); });
    const bool found = escape != std::end(escapes);
    text += found ? escape->second : rest.substr(0, 1);
    rest.remove_prefix(found ? escape->first.size() : 1);
  }
  return text;
}

}  // namespace

std::string report_page(const Report& report) {
  if (report.sentences.empty()) value_error("report", "0 sentences: must be at least 1");
  Json facts = Json::array(), sentences = Json::array();
  for (const auto& [name, value] : report.facts) facts.push_back(Json::array({name, value}));
  for (const ReportSentence& sentence : report.sentences) sentences.push_back(json_of(sentence));
  const std::string data = script_text({{"title", report.title},
                                        {"description", report.description},
                                        {"facts", std::move(facts)},
                                        {"sentences", std::move(sentences)}});
  constexpr std::string_view title_mark = "{{title}}", data_mark = "{{data}}";
  const std::string_view page = report_page_template;
  const std::size_t title_at = page.find(title_mark), data_at = page.find(data_mark, title_at);
  std::string html(page.substr(0, title_at));
  html += xml_text(report.title);
  html += page.substr(title_at + title_mark.size(), data_at - title_at - title_mark.size());
  html += data;
  html += page.substr(data_at + data_mark.size());
  return html;
}

void write_report(const std::filesystem::path& path, const Report& report) {
  write_file_atomically(path, report_page(report));
}

}  // namespace fovea::nn::inspect
