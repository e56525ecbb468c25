// Text in and out: lines of files, and what a line is made of.
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

/// What a line is cut into.
///   words       runs of anything but ASCII blanks; put together again with single blanks
///   characters  UTF-8 code points, blanks included; a byte that is not valid UTF-8 is a token of
///               its own, so cutting and putting together gives every line back byte for byte
enum class Unit : std::uint8_t { words, characters };

Tokens tokenize(std::string_view line, Unit unit);
std::string detokenize(std::span<const std::string> tokens, Unit unit);

/// "words" or "characters", as a checkpoint or a command line spells them, and back.
std::string_view unit_name(Unit unit);
Unit unit_named(std::string_view name);

/// What to do about bytes that are not UTF-8: an error that names file and line, or let them pass.
enum class Utf8 : std::uint8_t { strict, lenient };

/// All lines of a file, without their ends ("\n" or "\r\n"; the last line may lack one) and without
/// a byte order mark. Empty lines are kept: line i of the result is line i + 1 of the file. A file
/// named *.gz is unpacked first, see gunzip_limit(). FormatError, Error.
/// Memory: the text, and its lines, which take 32 bytes each and their characters: at most 33 times
/// the text's size, when all lines are empty, and 2 times where lines are long.
Lines read_lines(const std::filesystem::path& file, Utf8 utf8 = Utf8::strict);

/// The same from a stream, such as standard input; `name` stands for the file in errors.
/// At most most_stream_bytes (core/files.h).
Lines read_lines(std::istream& in, std::string_view name, Utf8 utf8 = Utf8::strict);

/// Two texts of equally many lines, of which line i of one translates line i of the other.
struct ParallelText {
  Lines source = {};
  Lines target = {};

  std::int64_t size() const { return static_cast<std::int64_t>(source.size()); }
};

ParallelText read_parallel(const std::filesystem::path& source, const std::filesystem::path& target,
                           Utf8 utf8 = Utf8::strict);

}  // namespace fovea::nn::data
