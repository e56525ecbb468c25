// What the program can be told.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

struct Options {
  // data
  std::filesystem::path data;  // a folder with train/val/test files; empty: the dates task
  std::string source = "de", target = "en";
  std::int64_t min_count = 2;  // rarer words become <unk>
  std::int64_t max_vocab = 8000;

  // model
  std::string attention = "additive";  // or none
  std::int64_t embed = 0;              // 0: 32 for dates, 256 for text
  std::int64_t hidden = 0;             // 0: 64 for dates, 256 for text
  double dropout = -1;                 // < 0: 0 for dates, 0.3 for text

  // training
  std::int64_t epochs = 0;  // 0: 6 for dates, 15 for text
  double max_seconds = 0;   // 0: no limit
  std::int64_t batch = 64;
  double lr = 0;                // 0: 4e-3 for dates, 1e-3 for text
  double label_smoothing = -1;  // < 0: 0 for dates, 0.1 for text
  double clip = 1.0;
  std::uint64_t seed = 1;
  int threads = 0;  // 0: as many as there are processors
  bool resume = false;
  std::filesystem::path log;

  // search
  std::int64_t beam = 0;  // 0: 1 for dates, 5 for text
  double length_penalty = 1.0;
  std::int64_t n_best = 1;
  bool keep_unknown = false;  // else <unk> becomes the source word that it looked at most

  // files
  std::filesystem::path save, load, input, output, json, heatmap, curve;
  std::string text;
  bool smoke = false;

  bool is_dates() const { return data.empty(); }
  bool trains() const { return load.empty(); }
};

/// Reads the command line; prints help or an error and exits where that is called for.
Options parse_options(int argc, char** argv);
