// What the program can be told.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

/// What a translator was made for: enough to find its text again.
struct Task {
  bool dates = true;  // human dates to ISO dates, made from the seed; else text from files
  std::string source = "de", target = "en";
  std::uint64_t seed = 1;  // of everything random

  std::string name() const { return dates ? "dates" : source + "-" + target; }
};

struct Options {
  // data
  Task task;
  std::filesystem::path data;  // a folder with train, val and test files; empty: the dates task
  std::int64_t min_count = 2;  // rarer words become <unk>
  std::int64_t max_vocab = 8000;

  // Here 0 or less stands for what fill_defaults() sets.

  // model
  std::string attention = "additive";  // or none
  std::int64_t embed = 0;
  std::int64_t hidden = 0;
  double dropout = -1;

  // training
  std::int64_t epochs = 0;
  double max_seconds = 0;  // 0: no limit
  std::int64_t batch = 64;
  double lr = 0;
  double label_smoothing = -1;
  double clip = 1.0;
  int threads = 0;
  bool resume = false;
  std::filesystem::path log;

  // search
  std::int64_t beam = 0;
  double length_penalty = 1.0;
  std::int64_t n_best = 1;
  bool keep_unknown = false;  // else <unk> becomes the source word that it looked at most

  // files
  std::filesystem::path save, load, input, output, json, heatmap, curve;
  std::vector<std::string> text;
  bool smoke = false;

  std::string resume_command;  // what a shell would be given to go on after Ctrl-C

  bool trains() const { return load.empty(); }
  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
};

/// Reads the command line; prints help or an error and exits where that is called for.
Options parse_options(int argc, char** argv);

/// Sets what was not given and depends on the task, which a loaded model may change.
void fill_defaults(Options& options);
