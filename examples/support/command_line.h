// Command-line parsing for the programs.
#pragma once

#include <fovea/examples/support/numbers.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace support {

/// A declared option.
struct Declared {
  enum class Kind : std::uint8_t { flag, integer, real, bytes, choice, text, file };
  CLI::Option* option;
  Kind kind;
  std::string example;                      ///< a valid value; empty for a flag
  std::string min = {}, max = {};           ///< of integers and reals
  bool above = false;                       ///< min itself is invalid
  std::function<std::string()> value = {};  ///< of integers and reals: the current value
};

class CommandLine;

/// Options under one heading of --help, which shows the default value (if it is in the range) and
/// the range. `kind` is the name of the value in --help.
class Group {
 public:
  Group(CommandLine& line, std::string heading) : line_(line), heading_(std::move(heading)) {}

  void flag(const std::string& name, bool& value, const std::string& what);
  template <class T>
  void number(const std::string& name, T& value, const std::type_identity_t<Range<T>>& range,
              const std::string& kind, const std::string& what) {
    const std::string standard = range.contains(value) ? fmt::format("={}", value) : "";
    Declared& added = take(name, kind + standard, fmt::format("{} ({})", what, range.str()),
                           [name, &value, range](const std::string& text) {
                             value = parse_number(name, text, range);
                           });
    added.kind = std::integral<T> ? Declared::Kind::integer : Declared::Kind::real;
    added.min = fmt::format("{}", range.min);
    added.max = added.example = fmt::format("{}", range.max);
    added.above = range.above;
    added.value = [&value] { return fmt::format("{}", value); };
  }
  /// A size such as "800MB" or "2GiB".
  void bytes(const std::string& name, std::int64_t& value, const std::string& kind,
             const std::string& what);
  void choice(const std::string& name, std::string& value, const std::vector<std::string>& names,
              const std::string& kind, const std::string& what);
  /// Several of the names, separated by commas.
  void choices(const std::string& name, std::vector<std::string>& values,
               const std::vector<std::string>& names, const std::string& kind,
               const std::string& what);
  void text(const std::string& name, std::string& value, const std::string& kind,
            const std::string& what);
  void texts(const std::string& name, std::vector<std::string>& values, const std::string& kind,
             const std::string& what);  ///< can be repeated
  void file(const std::string& name, std::filesystem::path& value, const std::string& kind,
            const std::string& what);
  void files(const std::string& name, std::vector<std::filesystem::path>& values,
             const std::string& kind, const std::string& what);  ///< can be repeated

 private:
  Declared& take(const std::string& name, const std::string& kind, const std::string& what,
                 const std::function<void(const std::string&)>& read);
  Declared& declare(CLI::Option* option, Declared::Kind kind, std::string example);

  CommandLine& line_;
  std::string heading_;
};

/// A rule for combinations of options: if `holds` is false, its options have no effect and are
/// an error, "--a, --b: WHEN".
struct Rule {
  bool holds;
  std::string when;     ///< "only with --input"
  std::string options;  ///< names, separated by spaces
};

/// A program's options, and the rules for their combinations.
class CommandLine {
 public:
  explicit CommandLine(const std::string& description) : app(description) {}
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// CLI::ParseError for an invalid option or an invalid combination; CLI::Success for --help.
  void parse(const std::vector<std::string>& arguments);
  /// The same, but prints help or errors and exits.
  void parse_or_exit(int argc, const char* const* argv);

  CLI::App app;
  std::deque<Declared> options = {};
  std::function<std::vector<Rule>()> rules = {};  ///< called after the values were read
  std::function<void()> check_values = {};        ///< throws a ValidationError
};

/// The command line, quoted for a shell, with --resume added.
std::string resume_command(int argc, char** argv);

}  // namespace support
