// Command-line options of generate.
#pragma once

#include <fovea/examples/support/memory_options.h>
#include <fovea/nn/sampling.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace support {
class CommandLine;
}

struct Options {
  // model
  std::filesystem::path data;  // directory with stories260K.safetensors and tok512.bin
  std::filesystem::path text;  // training text; neither: random sentences of a small grammar
  std::filesystem::path save, load;

  // training
  std::int64_t steps = 500;
  double max_seconds = 0;  // 0: no limit
  std::int64_t layers = 2, width = 64, heads = 4, context = 128, batch = 24;
  double lr = 8e-3;
  double dropout = 0;
  support::MemoryOptions memory;
  bool resume = false;
  double save_every = 600;     // seconds
  std::string resume_command;  // command that resumes an interrupted training
  std::int64_t window = 64;    // keys visible to a character; 0: all before it

  // generation
  std::string prompt;
  std::int64_t tokens = 256;
  fovea::nn::SamplingOptions sampling{.temperature = 1.0, .top_p = 0.9};
  std::uint64_t seed = 1;
  bool endless = false;  // continue after the end of a story

  // files
  std::filesystem::path json, report, profile;
  bool check = false, smoke = false;

  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
  bool trains() const { return data.empty() && load.empty(); }
};

/// Declares the options, which are parsed into `o`, and the rules for their combinations.
void declare_options(support::CommandLine& line, Options& o);

/// Parses the command line; prints help or an error and exits if necessary.
Options parse_options(int argc, char** argv);
