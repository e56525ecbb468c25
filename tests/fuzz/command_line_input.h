// A command line as lines, one word per line.
#pragma once

#include <fovea/examples/support/command_line.h>

#include <string>
#include <vector>

#include "fuzz_target.h"

namespace fovea::fuzz {

/// Parses the words as a program's options: they are accepted, or give a CLI::ParseError.
template <class Options>
void parse_words(Input& in, void (*declare)(support::CommandLine&, Options&)) {
  std::vector<std::string> words;
  while (!in.rest().empty()) words.emplace_back(in.until('\n'));
  Options options;
  support::CommandLine line("fuzz");
  declare(line, options);
  try {
    line.parse(words);
  } catch (const CLI::ParseError&) {
  }
}

}  // namespace fovea::fuzz
