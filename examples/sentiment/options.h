// Command-line options of sentiment.
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

/// Options of a model, saved in checkpoints.
struct ModelOptions {
  std::string model = "bow";  // see models.h
  std::string pooling;        // last, mean, max or attention
  bool bigrams = false;       // bigrams are additional words: "not bad"
  std::int64_t embed = 0;     // width of the embeddings
  std::int64_t hidden = 0;    // recurrent: hidden size per direction; transformer: feed-forward
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  double dropout = -1;
  bool recompute = false;  // recurrent: save less for backward; not in checkpoints
};

struct Options {
  // data
  std::filesystem::path data;  // directory of SST-2; empty: the built-in reviews
  bool phrases = false;        // also train on phrases
  std::int64_t min_count = 1;  // words with fewer occurrences become <unk>
  std::uint64_t seed = 1;      // random seed

  // Values <= 0 below (probabilities: < 0) are replaced by fill_defaults().

  ModelOptions model;

  // training
  std::int64_t epochs = 0;
  double max_seconds = 0;     // 0: no limit
  std::int64_t patience = 0;  // consecutive validations without improvement
  std::int64_t batch = 0;
  double lr = 0;
  double weight_decay = -1;
  double word_dropout = -1;     // probability that a word becomes <unk>
  double label_smoothing = -1;  // e
  double average = -1;          // decay of the weight average; 0: none
  double clip = 1.0;
  int threads = 0;
  bool resume = false;
  double save_every = 600;  // seconds
  bool smoke = false;
  support::MemoryOptions memory;

  // files
  std::filesystem::path save, load, input, output, json, report, log, curve, profile;
  std::vector<std::string> text;

  std::string resume_command;  // command that resumes an interrupted training

  bool trains() const { return load.empty(); }
  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
  std::string task() const { return data.empty() ? "reviews" : "sst2"; }
};

/// Declares the options, which are parsed into `o`, and the rules for their combinations.
void declare_options(support::CommandLine& line, Options& o);

/// Parses the command line; prints help or an error and exits if necessary.
Options parse_options(int argc, char** argv);

/// Sets the options that were not given to defaults that depend on data and model.
void fill_defaults(Options& options);

/// Error if an output cannot be written: checked before a long training.
void check_outputs(const Options& options);
