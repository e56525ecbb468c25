// Command-line options of translate.
#pragma once

#include <fovea/examples/support/memory_options.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace support {
class CommandLine;
}

/// The task of a translator: identifies its training text.
struct Task {
  bool dates = true;  // human dates to ISO dates, generated from the seed; else text files
  std::string source = "de", target = "en";
  std::uint64_t seed = 1;  // random seed

  std::string name() const { return dates ? "dates" : source + "-" + target; }
};

struct Options {
  // data
  Task task;
  std::filesystem::path data;   // directory with train, val and test files; empty: dates
  std::filesystem::path bpe;    // file with the merges of byte-pair encoding
  std::int64_t bpe_merges = 0;  // or number of learned merges; 0: words

  // Values below the valid range are replaced by fill_defaults().

  std::int64_t min_count = 0;  // words with fewer occurrences become <unk>
  std::int64_t max_vocab = 0;

  // model
  std::string model = "rnn";           // or transformer
  std::string attention = "additive";  // of the rnn: mechanism, or none
  std::string attention_weights = "softmax";
  bool coverage = false;       // of additive attention
  bool input_feeding = false;  // of the rnn's decoder
  std::int64_t embed = 0;
  std::int64_t hidden = 0;  // of the rnn
  std::int64_t layers = 0;  // of the transformer, as heads and ffn
  std::int64_t heads = 0;   // also of multihead attention in the rnn
  std::int64_t ffn = 0;
  double dropout = -1;
  double attention_dropout = 0;  // of the transformer's attention weights

  // training
  std::int64_t epochs = 0;
  double max_seconds = 0;         // 0: no limit
  std::int64_t batch = 0;         // sentences
  std::int64_t batch_tokens = 0;  // or maximum padded tokens per batch; 0: no limit
  double lr = 0;
  std::string schedule;       // of the learning rate: cosine or inverse-sqrt
  std::int64_t warmup = -1;   // warm-up steps
  double beta2 = 0;           // of Adam
  std::int64_t average = -1;  // epochs of the moving average of the weights; 0: off
  double label_smoothing = -1;
  double clip = 1.0;
  double coverage_loss = 0;                // weight of the coverage loss
  std::filesystem::path guided_alignment;  // file of alignments of the training pairs
  double guided_weight = 0.5;              // weight of the guided-alignment loss
  bool recompute = false;                  // the rnn's encoder recomputes instead of saving
  int threads = 0;
  bool resume = false;
  double save_every = 600;  // seconds
  std::filesystem::path log;

  // search
  std::int64_t beam = 0;
  double length_penalty = 1.0;
  std::int64_t max_length = 1000;  // of a source line and of its translation
  std::int64_t n_best = 1;
  bool keep_unknown = false;  // else <unk> becomes the source word of largest weight

  // files
  std::filesystem::path save, input, output, json, heatmap, curve, report, profile;
  std::filesystem::path target_text, align, align_weights;  // forced decoding, alignments
  std::vector<std::filesystem::path> load;                  // more than one: an ensemble
  std::vector<std::string> text;
  bool smoke = false;
  support::MemoryOptions memory;

  std::string resume_command;  // command that resumes an interrupted training

  bool trains() const { return load.empty(); }
  bool aligns() const { return !(align.empty() && align_weights.empty()); }
  bool draws() const { return !(heatmap.empty() && report.empty()); }
  std::filesystem::path last() const { return save.string() + ".last"; }  // --resume reads it
};

/// Declares the options, which are parsed into `o`, and the rules for their combinations.
void declare_options(support::CommandLine& line, Options& o);

/// Parses the command line; prints help or an error and exits if necessary.
Options parse_options(int argc, char** argv);

/// Sets options that were not given. The defaults depend on the task, which a loaded model sets.
void fill_defaults(Options& options);

/// Error if an output cannot be written: checked before a long training.
void check_outputs(const Options& options);
