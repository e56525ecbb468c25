// Runs a program in a directory, to its end or until it is killed.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

struct Command {
  std::vector<std::string> words;  ///< the program's path and its arguments
  std::map<std::string, std::string> environment = {};
  std::optional<double> kill_after = {};  ///< seconds
};

struct Outcome {
  int exit_code = -1;  ///< -1: ended by a signal
  int signal = 0;
  std::string messages;  ///< standard error
  double seconds = 0;
};

/// Standard output is discarded.
Outcome run_in(const std::filesystem::path& folder, const Command& command);
