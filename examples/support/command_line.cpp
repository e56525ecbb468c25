#include <fovea/core/error.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/nn/inspect/cost.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace support {

namespace {

// In Options "" means that the option was not given.
const CLI::Validator not_empty(
    [](std::string& text) { return text.empty() ? "'': must be a file name" : ""; }, "");

void check_name(const std::string& option, const std::string& name,
                const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), name) == names.end())
    fovea::value_error(option, "'{}': must be one of {}", name, fmt::join(names, ", "));
}

}  // namespace

Declared& Group::declare(CLI::Option* option, Declared::Kind kind, std::string example) {
  option->group(heading_);
  return line_.options.emplace_back(
      Declared{.option = option, .kind = kind, .example = std::move(example)});
}

Declared& Group::take(const std::string& name, const std::string& kind, const std::string& what,
                      const std::function<void(const std::string&)>& read) {
  const auto checked = [name, read](const std::string& text) {
    try {
      read(text);
    } catch (const fovea::ValueError& error) {
      throw CLI::ValidationError(error.what());  // the message names the option
    }
  };
  return declare(line_.app.add_option_function<std::string>(name, checked, what)->option_text(kind),
                 Declared::Kind::text, "x");
}

void Group::flag(const std::string& name, bool& value, const std::string& what) {
  declare(line_.app.add_flag(name, value, what), Declared::Kind::flag, "");
}

void Group::bytes(const std::string& name, std::int64_t& value, const std::string& kind,
                  const std::string& what) {
  Declared& added = take(name, kind, what, [name, &value](const std::string& text) {
    try {
      value = text.ends_with(' ') ? 0 : fovea::nn::inspect::parse_bytes(text);
    } catch (const fovea::ValueError&) {
      value = 0;
    }
    if (value == 0)
      fovea::value_error(name, "'{}': must be a number of bytes, such as 800MB, 2.5GB or 1GiB",
                         text);
  });
  added.kind = Declared::Kind::bytes;
  added.example = "4TiB";
}

void Group::choice(const std::string& name, std::string& value,
                   const std::vector<std::string>& names, const std::string& kind,
                   const std::string& what) {
  Declared& added = take(name, value.empty() ? kind : kind + "=" + value, what,
                         [name, &value, names](const std::string& text) {
                           check_name(name, text, names);
                           value = text;
                         });
  added.kind = Declared::Kind::choice;
  added.example = names.back();
}

void Group::choices(const std::string& name, std::vector<std::string>& values,
                    const std::vector<std::string>& names, const std::string& kind,
                    const std::string& what) {
  Declared& added = take(name, kind, what, [name, &values, names](const std::string& text) {
    values.clear();
    for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
      end = text.find(',', begin);
      values.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
      check_name(name, values.back(), names);
    }
  });
  added.kind = Declared::Kind::choice;
  added.example = names.back();
}

void Group::text(const std::string& name, std::string& value, const std::string& kind,
                 const std::string& what) {
  const std::string standard = value.empty() ? "" : "=" + value;
  declare(line_.app.add_option(name, value, what)->option_text(kind + standard),
          Declared::Kind::text, "x");
}

void Group::texts(const std::string& name, std::vector<std::string>& values,
                  const std::string& kind, const std::string& what) {
  declare(line_.app.add_option(name, values, what)->option_text(kind)->allow_extra_args(false),
          Declared::Kind::text, "x");
}

void Group::file(const std::string& name, std::filesystem::path& value, const std::string& kind,
                 const std::string& what) {
  declare(line_.app.add_option(name, value, what)->option_text(kind)->check(not_empty),
          Declared::Kind::file, "x");
}

void Group::files(const std::string& name, std::vector<std::filesystem::path>& values,
                  const std::string& kind, const std::string& what) {
  declare(line_.app.add_option(name, values, what)
              ->option_text(kind)
              ->check(not_empty)
              ->allow_extra_args(false),
          Declared::Kind::file, "x");
}

void CommandLine::parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> reversed(arguments.rbegin(),
                                    arguments.rend());  // the order that CLI11 requires
  app.parse(std::move(reversed));
  if (check_values) check_values();
  if (!rules) return;
  for (const Rule& rule : rules()) {
    std::vector<std::string> refused;
    std::istringstream names(rule.options);
    for (std::string name; names >> name;)
      if (app.get_option(name)->count() > 0 && !rule.holds) refused.push_back(name);
    if (!refused.empty())
      throw CLI::ValidationError(fmt::format("{}: {}", fmt::join(refused, ", "), rule.when));
  }
}

void CommandLine::parse_or_exit(int argc, const char* const* argv) {
  constexpr int usage_exit_code = 2;
  app.get_formatter()->column_width(26);
  if (argc > 0) app.name(argv[0]);
  try {
    parse(std::vector<std::string>(argv + std::min(1, argc), argv + argc));
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : usage_exit_code);
  }
}

std::string resume_command(int argc, char** argv) {
  std::string command;
  bool resumes = false;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    resumes |= word == "--resume";
    if (word.empty() ||
        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-_=+./,:@%") != std::string::npos) {
      for (std::size_t at = 0; (at = word.find('\'', at)) != std::string::npos; at += 4)
        word.replace(at, 1, R"('\'')");
      word = "'" + word + "'";
    }
    command += (i > 0 ? " " : "") + word;
  }
  return resumes ? command : command + " --resume";
}

}  // namespace support
