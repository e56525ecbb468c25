// What the program can be told.
#pragma once

#include <fovea/examples/support/memory_options.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace support {
class CommandLine;
}

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
  std::filesystem::path data;   // a folder with train, val and test files; empty: the dates task
  std::filesystem::path bpe;    // merges of byte-pair encoding, or ...
  std::int64_t bpe_merges = 0;  // ... so many that are learned; 0: words

  // Here what is less than any sensible value stands for what fill_defaults() sets.

  std::int64_t min_count = 0;  // rarer words become <unk>
  std::int64_t max_vocab = 0;

  // model
  std::string model = "rnn";           // or transformer
  std::string attention = "additive";  // of the rnn; or none, or another mechanism
  std::string attention_weights = "softmax";
  bool coverage = false;       // of additive attention
  bool input_feeding = false;  // of the rnn's decoder
  std::int64_t embed = 0;
  std::int64_t hidden = 0;  // of the rnn
  std::int64_t layers = 0;  // of the transformer, as heads and ffn
  std::int64_t heads = 0;   // also of multihead attention in the rnn
  std::int64_t ffn = 0;
  double dropout = -1;
  double attention_dropout = 0;  // of the transformer's weights

  // training
  std::int64_t epochs = 0;
  double max_seconds = 0;         // 0: no limit
  std::int64_t batch = 0;         // sentences
  std::int64_t batch_tokens = 0;  // or a bound on batches as matrices; 0: none
  double lr = 0;
  std::string schedule;       // of the rate: cosine or inverse-sqrt
  std::int64_t warmup = -1;   // steps of rising rate before that
  double beta2 = 0;           // of Adam
  std::int64_t average = -1;  // over so many epochs the weights are averaged; 0: not at all
  double label_smoothing = -1;
  double clip = 1.0;
  double coverage_loss = 0;                // weight of what looking twice costs
  std::filesystem::path guided_alignment;  // links for the training pairs
  double guided_weight = 0.5;              // what not looking along them costs
  bool recompute = false;                  // the rnn's encoder keeps less for the backward
  int threads = 0;
  bool resume = false;
  double save_every = 600;  // seconds
  std::filesystem::path log;

  // search
  std::int64_t beam = 0;
  double length_penalty = 1.0;
  std::int64_t max_length = 1000;  // tokens that are read of a line, and of its translation
  std::int64_t n_best = 1;
  bool keep_unknown = false;  // else <unk> becomes the source word that it looked at most

  // files
  std::filesystem::path save, input, output, json, heatmap, curve, report, profile;
  std::filesystem::path target_text, align, align_weights;  // what is forced, where it looked
  std::vector<std::filesystem::path> load;                  // several: an ensemble
  std::vector<std::string> text;
  bool smoke = false;
  support::MemoryOptions memory;

  std::string resume_command;  // what a shell would be given to go on after an interrupt

  bool trains() const { return load.empty(); }
  bool aligns() const { return !(align.empty() && align_weights.empty()); }
  bool draws() const { return !(heatmap.empty() && report.empty()); }
  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
};

/// Declares the options, to be read into `o`, and the rules for combinations of options.
void declare_options(support::CommandLine& line, Options& o);

/// Reads the command line; prints help or an error and exits where that is called for.
Options parse_options(int argc, char** argv);

/// Sets what was not given and depends on the task, which a loaded model may change.
void fill_defaults(Options& options);

/// Error where a file that is to be written has no folder, before hours are spent on its content.
void check_outputs(const Options& options);
