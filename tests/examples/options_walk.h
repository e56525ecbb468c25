// Tests all options of a program: every numeric option with invalid numbers, and every option in
// every mode.
#pragma once

#include <fovea/examples/support/command_line.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace walk {

using Words = std::vector<std::string>;

/// The error for a command line, "" if it is valid.
template <class Options>
std::string refusal(const Words& arguments) {
  Options o;
  support::CommandLine line("");
  declare_options(line, o);
  try {
    line.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return std::string(error.what()).empty() ? "refused without a message" : error.what();
  }
  return "";
}

inline Words hostile_numbers(const support::Declared& option) {
  using Kind = support::Declared::Kind;
  Words texts{"",    " ",    " 5",  "5 ",       "+5",   "-1",    "0x10", "5x",  "1,000", "1_000",
              "nan", "-nan", "inf", "infinity", "-inf", "1e999", "five", "--5", "5 5",   "\t5"};
  if (option.kind == Kind::bytes)
    for (const char* text : {"0", "99999999T", "1e30", "-5MB", "5XB"}) texts.push_back(text);
  if (option.kind == Kind::integer)
    for (const char* text : {"1e3", "2.5", "5.", "18446744073709551616", "-9223372036854775809",
                             "99999999999999999999999999"})
      texts.push_back(text);
  if (option.kind == Kind::real) texts.push_back("1e300");
  if (option.kind == Kind::integer && option.max != "18446744073709551615")
    for (const std::int64_t more : {1, 2}) {
      texts.push_back(std::to_string(std::stoll(option.max) + more));
      texts.push_back(std::to_string(std::stoll(option.min) - more));
    }
  if (option.above) texts.push_back(option.min);
  return texts;
}

/// Every option has a kind; values out of range and texts that are not numbers are errors with the
/// option's name; both ends of the range are accepted and stored.
template <class Options>
void check_numbers(std::size_t at_least) {
  Options o;
  support::CommandLine line("");
  declare_options(line, o);
  CHECK(line.options.size() + 1 == line.app.get_options().size());  // and --help
  std::size_t numbers = 0;
  for (const support::Declared& option : line.options) {
    using Kind = support::Declared::Kind;
    const std::string name = option.option->get_name();
    CAPTURE(name);
    if (option.kind != Kind::integer && option.kind != Kind::real && option.kind != Kind::bytes)
      continue;
    ++numbers;
    for (const std::string& text : hostile_numbers(option)) {
      CAPTURE(text);
      const std::string error = refusal<Options>({name, text});
      CHECK(error.starts_with(name + ": '" + text + "': must be "));
      CHECK(refusal<Options>({name + "=" + text}).find(name) != std::string::npos);
    }
    CHECK(refusal<Options>({name, option.example, name, option.example}) != "");  // at most once
    Words accepted{option.example};
    if (option.kind != Kind::bytes) {
      accepted.push_back(option.max);
      if (!option.above) accepted.push_back(option.min);
      CHECK(line.app.help().find(option.max) != std::string::npos);
    }
    for (const std::string& text : accepted) {
      CAPTURE(text);
      Options read;
      support::CommandLine fresh("");
      declare_options(fresh, read);
      CHECK_NOTHROW(fresh.app.parse(Words{text, name}));  // CLI11 expects the last word first
      for (const support::Declared& stored : fresh.options)
        if (stored.value && stored.option->get_name() == name) CHECK(stored.value() == text);
    }
  }
  CHECK(numbers >= at_least);
}

struct Mode {
  char letter;
  Words arguments;
};

/// An option, and the letters of the modes in which it has an effect.
using Table = std::map<std::string, std::string>;

/// Each option in each mode that does not have it already: an error that names an option, unless
/// the table has the mode. `examples`: values for options whose own example does not work.
template <class Options>
void check_modes(const std::vector<Mode>& modes, const Table& table,
                 const std::map<std::string, std::string>& examples = {}) {
  Options o;
  support::CommandLine line("");
  declare_options(line, o);
  std::set<std::string> known;
  for (const Mode& mode : modes) {
    CAPTURE(mode.letter);
    CHECK(refusal<Options>(mode.arguments) == "");
  }
  for (const support::Declared& option : line.options) {
    const std::string name = option.option->get_name();
    known.insert(name);
    CAPTURE(name);
    REQUIRE(table.contains(name));
    const std::string& meant = table.at(name);
    for (const Mode& mode : modes) {
      if (std::count(mode.arguments.begin(), mode.arguments.end(), name) > 0) continue;
      CAPTURE(mode.letter);
      Words arguments = mode.arguments;
      arguments.push_back(name);
      if (option.kind != support::Declared::Kind::flag)
        arguments.push_back(examples.contains(name) ? examples.at(name) : option.example);
      const std::string error = refusal<Options>(arguments);
      CAPTURE(error);
      CHECK((error == "") == (meant.find(mode.letter) != std::string::npos));
      const bool named = std::any_of(arguments.begin(), arguments.end(), [&](const auto& word) {
        return word.starts_with("--") && error.find(word) != std::string::npos;
      });
      CHECK((error == "" || named));
    }
  }
  for (const auto& [name, meant] : table) {
    CAPTURE(name);
    CHECK(known.contains(name));
  }
}

}  // namespace walk
