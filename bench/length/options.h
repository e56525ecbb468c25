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

/// Declares the options, to be read into `o`, and the rules for combinations of options.
void declare_options(support::CommandLine& line, Options& o);

/// Reads the command line; prints help or an error and exits where that is called for.
Options parse_options(int argc, char** argv);
