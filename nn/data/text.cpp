#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/nn/data/gzip.h>
#include <fovea/nn/data/text.h>
#include <fovea/nn/data/utf8.h>

#include <algorithm>
#include <array>
#include <istream>

namespace fovea::nn::data {
namespace {

constexpr std::string_view blanks = " \t\r\n\v\f";
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

Tokens split_words(std::string_view line) {
  Tokens words;
  for (std::size_t at = line.find_first_not_of(blanks); at != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(blanks, at), line.size());
    words.emplace_back(line.substr(at, end - at));
    at = line.find_first_not_of(blanks, end);
  }
  return words;
}

Tokens split_characters(std::string_view line) {
  Tokens characters;
  while (!line.empty()) {
    const std::size_t size = first_code_point(line).size;
    characters.emplace_back(line.substr(0, size));
    line.remove_prefix(size);
  }
  return characters;
}

void check_utf8(std::string_view line, std::string_view name, std::size_t number) {
  const std::size_t at = find_invalid_utf8(line);
  if (at == std::string_view::npos) return;
  format_error("read_lines", "{}:{}: byte {} (0x{:02X}) is not valid UTF-8", name, number, at + 1,
               static_cast<unsigned char>(line[at]));
}

// Counts the lines first: a growing vector takes up to three times its size while it is copied.
Lines split_lines(std::string_view bytes, std::string_view name, Utf8 utf8) {
  if (bytes.starts_with(byte_order_mark)) bytes.remove_prefix(byte_order_mark.size());
  Lines lines;
  const bool open_end = !bytes.empty() && bytes.back() != '\n';
  lines.reserve(static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), '\n')) + open_end);
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (utf8 == Utf8::strict) check_utf8(line, name, lines.size() + 1);
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace

Tokens tokenize(std::string_view line, Unit unit) {
  return unit == Unit::words ? split_words(line) : split_characters(line);
}

std::string detokenize(std::span<const std::string> tokens, Unit unit) {
  const std::string_view between = unit == Unit::words ? " " : "";
  std::string line;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) line += between;
    line += tokens[i];
  }
  return line;
}

std::string_view unit_name(Unit unit) { return unit == Unit::words ? "words" : "characters"; }

Unit unit_named(std::string_view name) {
  for (const Unit unit : {Unit::words, Unit::characters})
    if (name == unit_name(unit)) return unit;
  value_error("unit_named", "'{}': must be one of words, characters", name);
}

Lines read_lines(std::istream& in, std::string_view name, Utf8 utf8) {
  std::string bytes;
  for (std::array<char, 1 << 16> part; in.read(part.data(), part.size()) || in.gcount() > 0;) {
    bytes.append(part.data(), static_cast<std::size_t>(in.gcount()));
    if (bytes.size() > most_stream_bytes)
      format_error("read_lines", "{}: must be at most {} bytes", name, most_stream_bytes);
  }
  if (in.bad()) format_error("read_lines", "{}: reading failed", name);
  return split_lines(bytes, name, utf8);
}

Lines read_lines(const std::filesystem::path& file, Utf8 utf8) {
  std::string bytes = read_file(file);
  if (file.extension() == ".gz") bytes = gunzip(bytes, file.string());
  return split_lines(bytes, file.string(), utf8);
}

ParallelText read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                           Utf8 utf8) {
  ParallelText text{read_lines(source, utf8), read_lines(target, utf8)};
  if (text.source.size() != text.target.size())
    format_error("read_parallel",
                 "{} has {} lines and {} has {}: must be equal, line i of one translates line i of "
                 "the other",
                 source.string(), text.source.size(), target.string(), text.target.size());
  return text;
}

}  // namespace fovea::nn::data
