#include <fovea/core/error.h>
#include <fovea/examples/support/command_line.h>

namespace support {

CLI::Option* Group::take(const std::string& name, const std::string& kind, const std::string& what,
                         const std::function<void(const std::string&)>& take) {
  const auto read = [name, take](const std::string& text) {
    try {
      take(text);
    } catch (const fovea::ValueError& error) {
      throw CLI::ValidationError(name, error.what());
    }
  };
  return noted(app_.add_option_function<std::string>(name, read, what)->option_text(kind));
}

void refuse(const std::vector<const Group*>& groups, const std::string& why) {
  std::string names;
  for (const Group* group : groups)
    for (const CLI::Option* option : group->options_)
      if (option->count() > 0) names += (names.empty() ? "" : ", ") + option->get_name();
  if (!names.empty()) throw CLI::ValidationError(names + ": " + why);
}

const CLI::Validator above_zero(
    [](const std::string& text) {
      double value = 0;
      return CLI::detail::lexical_cast(text, value) && value > 0 ? "" : text + " is not above 0";
    },
    "");

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
