// Parsing of numbers, with one table of ranges for command lines, checkpoints and files.
#pragma once

#include <fovea/core/error.h>

#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace support {

/// The values from min to max. NaN is never contained.
template <class T>
struct Range {
  T min, max;
  bool above = false;  ///< min itself is excluded

  constexpr bool contains(T value) const {
    return (above ? value > min : value >= min) && value <= max;
  }
  /// "1 to 10", "above 0, at most 10"
  std::string str() const {
    return above ? fmt::format("above {}, at most {}", min, max)
                 : fmt::format("{} to {}", min, max);
  }
  /// "must be an integer, 1 to 10"
  std::string rule() const {
    return fmt::format("must be {}, {}", std::integral<T> ? "an integer" : "a number", str());
  }
};

/// Parses the whole text as a number in the range: no spaces, no '+', no hexadecimal digits, and no
/// 1e3 for an integer. ValueError "NAME: 'TEXT': must be an integer, 1 to 10".
template <class T>
T parse_number(std::string_view name, std::string_view text, const Range<T>& range) {
  T value{};
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc() || end != last || !range.contains(value))
    fovea::value_error(name, "'{}': {}", text, range.rule());
  return value;
}

/// Valid ranges of the programs' options and checkpoints. The sizes are far above what a machine
/// can train (the memory forecast fails earlier); they keep sums and products of sizes exact.
namespace ranges {

using Integers = Range<std::int64_t>;
using Reals = Range<double>;

inline constexpr Range<std::uint64_t> seed{0, std::numeric_limits<std::uint64_t>::max()};
inline constexpr Range<int> threads{1, 256};
inline constexpr Integers width{1, 1'048'576}, layers{1, 128}, heads{1, 1024};
inline constexpr Integers length{1, 65'536};    // tokens per sequence
inline constexpr Integers window{0, 65'536};    // visible tokens; 0: all
inline constexpr Integers batch{1, 1'000'000};  // sentences
inline constexpr Integers epochs{1, 1'000'000};
inline constexpr Integers count{1, 1'000'000'000}, count_or_none{0, 1'000'000'000};
inline constexpr Integers vocab{4, 10'000'000};  // including the four special tokens
inline constexpr Integers beam{1, 1000};
inline constexpr Reals probability{0, 0.9};  // dropout and label smoothing
inline constexpr Reals weight{0, 1e9};       // weights of loss terms, and norm bounds
inline constexpr Reals rate{0, 1000, true};  // learning rates
inline constexpr Reals seconds{0, 1e9, true}, seconds_or_none{0, 1e9};

}  // namespace ranges
}  // namespace support
