// What the program can be told.
#pragma once

#include <fovea/examples/support/memory_options.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models.h"

namespace support {
class CommandLine;
}

/// What a net is built from; a checkpoint keeps it.
struct ModelOptions {
  std::string model = "bow";  // see models.h
  std::string pooling;        // last, mean, max or attention
  bool bigrams = false;       // pairs of neighbours are words too: "not bad"
  std::int64_t embed = 0;     // width of the embeddings
  std::int64_t hidden = 0;    // recurrent state, each direction; transformer: feed-forward
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  double dropout = -1;
  bool recompute = false;  // recurrent nets keep less for the backward; checkpoints do not keep it
};

struct Options {
  // data
  std::filesystem::path data;  // SST-2's folder; empty: the built-in reviews
  bool phrases = false;        // also its phrases
  std::int64_t min_count = 1;  // rarer words become <unk>
  std::uint64_t seed = 1;      // of everything random

  // Here 0 or less (of probabilities: less) stands for what fill_defaults() sets.

  ModelOptions model;

  // training
  std::int64_t epochs = 0;
  double max_seconds = 0;     // 0: no limit
  std::int64_t patience = 0;  // validations in a row that are no better
  std::int64_t batch = 0;
  double lr = 0;
  double weight_decay = -1;
  double word_dropout = -1;     // words that become <unk>, each time others
  double label_smoothing = -1;  // e
  double average = -1;          // share of the old in the averaged weights, each step; 0: none
  double clip = 1.0;
  int threads = 0;
  bool resume = false;
  double save_every = 600;  // seconds
  bool smoke = false;
  support::MemoryOptions memory;

  // files
  std::filesystem::path save, load, input, output, json, report, log, curve, profile;
  std::vector<std::string> text;

  std::string resume_command;  // what a shell would be given to go on after an interrupt

  bool trains() const { return load.empty(); }
  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
  std::string task() const { return data.empty() ? "reviews" : "sst2"; }
};

/// Declares the options, to be read into `o`, and the rules for combinations of options.
void declare_options(support::CommandLine& line, Options& o);

/// Reads the command line; prints help or an error and exits where that is called for.
Options parse_options(int argc, char** argv);

/// Sets what was not given and depends on data and model.
void fill_defaults(Options& options);

/// Error where a file that is to be written has no folder, before hours are spent on its content.
void check_outputs(const Options& options);
