// The command line of `length`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "layers.h"

namespace support {
class CommandLine;
}

struct Options {
  Sizes sizes;
  std::int64_t batch = 16, min_length = 16, max_length = 8192;
  double budget = 180;
  std::vector<std::string> kinds = {}, modes = {};
  std::filesystem::path csv = {}, svg = {};
  bool markdown = false, pin = false, smoke = false;
};

/// Declares the options, which are parsed into `o`, and the rules for their combinations.
void declare_options(support::CommandLine& line, Options& o);

/// Parses the command line; prints help or an error and exits if necessary.
Options parse_options(int argc, char** argv);
