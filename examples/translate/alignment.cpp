#include "alignment.h"

#include <fovea/core/error.h>
#include <fovea/examples/support/numbers.h>

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;

namespace {

// Parses "2-0"; empty if invalid.
std::optional<Link> parse_link(const std::string& word) {
  constexpr support::Range<std::int64_t> places{0, std::numeric_limits<std::int64_t>::max()};
  const std::size_t dash = word.find('-');
  if (dash == std::string::npos) return {};
  try {
    return Link{support::parse_number("source", word.substr(0, dash), places),
                support::parse_number("target", word.substr(dash + 1), places)};
  } catch (const fovea::ValueError&) {
    return {};
  }
}

// where: "file:line"
Links parse_line(const std::string& line, const data::PairLength& length,
                 const std::string& where) {
  Links links;
  for (const std::string& word : data::tokenize(line, data::Unit::words)) {
    const std::optional<Link> link = parse_link(word);
    if (!link)
      fovea::format_error("alignment", "{}: '{}': must be SOURCE-TARGET, indices from 0", where,
                          word);
    if (link->source < 0 || link->source >= length.source || link->target < 0 ||
        link->target >= length.target)
      fovea::value_error(
          "alignment", "{}: link {}: must be below {}-{}, the numbers of source and target tokens",
          where, word, length.source, length.target);
    links.push_back(*link);
  }
  return links;
}

}  // namespace

std::vector<Links> read_links(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const data::ParallelText& pairs) {
  const data::Lines lines = data::read_lines(path);
  if (std::ssize(lines) < pairs.size())
    fovea::value_error("alignment",
                       "{}:{}: line is missing: must have {} lines, the number of training pairs",
                       path.string(), lines.size() + 1, pairs.size());
  if (std::ssize(lines) > pairs.size())
    fovea::value_error("alignment",
                       "{}:{}: extra line: must have {} lines, the number of training pairs",
                       path.string(), pairs.size() + 1, pairs.size());
  std::vector<Links> links;
  for (std::size_t i = 0; i < lines.size(); ++i)
    links.push_back(parse_line(lines[i],
                               {.target = std::ssize(tokenizer.encode_target(pairs.target[i])),
                                .source = std::ssize(tokenizer.encode_source(pairs.source[i]))},
                               fmt::format("{}:{}", path.string(), i + 1)));
  return links;
}

fovea::Tensor links_of(const std::vector<Links>& links, const data::Ids& rows,
                       const data::TranslationBatch& batch) {
  const std::int64_t T = batch.target_output.max_len, S = batch.source.max_len;
  std::vector<float> table(static_cast<std::size_t>(std::ssize(rows) * T * S), 0.0f);
  for (std::size_t b = 0; b < rows.size(); ++b)
    for (const Link& link : links[static_cast<std::size_t>(rows[b])])
      table[static_cast<std::size_t>((static_cast<std::int64_t>(b) * T + link.target) * S +
                                     link.source)] = 1.0f;
  return fovea::from_data(table, {std::ssize(rows), T, S});
}

Links links_of(const Alignment& alignment) {
  Links links;
  const std::ptrdiff_t width = std::ssize(alignment.source);
  auto row = alignment.weights.begin();
  for (std::int64_t t = 0; t + 1 < std::ssize(alignment.target); ++t, row += width) {
    const auto best = std::max_element(row, row + width - 1);  // without <eos>
    if (best != row + width - 1 && *best > 0) links.push_back({best - row, t});
  }
  return links;
}

std::string as_pharaoh(const std::vector<Alignment>& alignments) {
  std::string text;
  for (const Alignment& alignment : alignments) {
    std::string line;
    for (const Link& link : links_of(alignment))
      line += fmt::format("{}{}-{}", line.empty() ? "" : " ", link.source, link.target);
    text += line + '\n';
  }
  return text;
}

std::string as_json_lines(const std::vector<Alignment>& alignments) {
  std::string text;
  for (const Alignment& a : alignments) {
    nlohmann::json rows = nlohmann::json::array();
    for (std::size_t t = 0; t < a.target.size(); ++t) {
      nlohmann::json& row = rows.emplace_back(nlohmann::json::array());
      for (std::size_t s = 0; s < a.source.size(); ++s)
        row.push_back(a.weights[t * a.source.size() + s]);
    }
    const nlohmann::ordered_json line{
        {"source", a.source}, {"target", a.target}, {"weights", rows}};
    text += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  }
  return text;
}
