// Reading lines of text files, and splitting lines into tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::data {

using Tokens = std::vector<std::string>;
using Lines = std::vector<std::string>;

/// The unit of tokenization.
///   words       separated by ASCII blanks; joined with single blanks
///   characters  UTF-8 code points, blanks included; a byte that is not valid UTF-8 is a separate
///               token, so that detokenize() restores every line exactly
enum class Unit : std::uint8_t { words, characters };

Tokens tokenize(std::string_view line, Unit unit);
std::string detokenize(std::span<const std::string> tokens, Unit unit);

/// "words" or "characters", the names in checkpoints and on the command line, and the inverse.
std::string_view unit_name(Unit unit);
Unit unit_named(std::string_view name);

/// The treatment of invalid UTF-8: an error that names file and line, or none.
enum class Utf8 : std::uint8_t { strict, lenient };

/// All lines of a file, without line ends ("\n" or "\r\n"; optional after the last line) and
/// without a byte order mark. Empty lines are included: line i of the result is line i + 1 of the
/// file. A file named *.gz is decompressed first, see gunzip_limit(). FormatError, Error. Memory:
/// the text, and its lines, which take 32 bytes each plus their characters: at most 33 times the
/// size of the text, if all lines are empty, and 2 times for long lines.
Lines read_lines(const std::filesystem::path& file, Utf8 utf8 = Utf8::strict);

/// The same from a stream, such as standard input; `name` is the file name in errors.
/// At most most_stream_bytes (core/files.h).
Lines read_lines(std::istream& in, std::string_view name, Utf8 utf8 = Utf8::strict);

/// Two texts with the same number of lines; line i of one is the translation of line i of the
/// other.
struct ParallelText {
  Lines source = {};
  Lines target = {};

  std::int64_t size() const { return static_cast<std::int64_t>(source.size()); }
};

ParallelText read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                           Utf8 utf8 = Utf8::strict);

}  // namespace fovea::nn::data
