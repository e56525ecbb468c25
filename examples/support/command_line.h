// What the programs' command lines have in common.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace support {

/// Options under one heading of --help. Groups may share a heading: what is to be refused together
/// is a group.
class Group {
 public:
  Group(CLI::App& app, std::string heading) : app_(app), heading_(std::move(heading)) {}

  /// `kind` stands for the value in --help.
  template <class T>
  CLI::Option* add(const std::string& name, T& value, const std::string& kind,
                   const std::string& what) {
    return noted(app_.add_option(name, value, what)->option_text(kind));
  }
  template <class T>
  CLI::Option* add_with_default(const std::string& name, T& value, const std::string& kind,
                                const std::string& what) {
    return add(name, value, fmt::format("{}={}", kind, value), what);
  }
  /// `take` is given the text, and may throw what is wrong with it.
  CLI::Option* take(const std::string& name, const std::string& kind, const std::string& what,
                    const std::function<void(const std::string&)>& take);
  CLI::Option* flag(const std::string& name, bool& value, const std::string& what) {
    return noted(app_.add_flag(name, value, what));
  }

 private:
  friend void refuse(const std::vector<const Group*>& groups, const std::string& why);

  CLI::Option* noted(CLI::Option* option) {
    options_.push_back(option);
    return option->group(heading_);
  }

  CLI::App& app_;
  std::string heading_;
  std::vector<const CLI::Option*> options_;
};

/// ValidationError that names those options of the groups that were given, if any were.
void refuse(const std::vector<const Group*>& groups, const std::string& why);

/// A check of numbers.
extern const CLI::Validator above_zero;

/// Reads the command line, then calls `check_together`, which may throw a ValidationError. Prints
/// help, or what is wrong, and ends the program where that is called for.
template <class F>
void parse(CLI::App& app, int argc, char** argv, const F& check_together) {
  constexpr int usage_exit_code = 2;
  app.get_formatter()->column_width(26);
  try {
    app.parse(argc, argv);
    check_together();
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : usage_exit_code);
  }
}

/// The command as a shell would need it, and --resume.
std::string resume_command(int argc, char** argv);

}  // namespace support
