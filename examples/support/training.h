// Shared parts of the training programs: progress display, files at start and end.
#pragma once

#include <fovea/nn/data/batching.h>
#include <fovea/nn/data/text.h>
#include <fovea/optim/trainer.h>

#include <filesystem>
#include <string>
#include <vector>

namespace support {

/// The current epoch's batches, recomputed from (seed, epoch) when the epoch changes.
class Epochs {
 public:
  /// lengths: must outlive this object
  Epochs(const std::vector<fovea::nn::data::PairLength>& lengths,
         const fovea::nn::data::BucketOptions& options)
      : lengths_(lengths), options_(options) {}

  const std::vector<fovea::nn::data::Ids>& at(std::int64_t epoch);

 private:
  const std::vector<fovea::nn::data::PairLength>& lengths_;
  fovea::nn::data::BucketOptions options_;
  std::int64_t epoch_ = -1;
  std::vector<fovea::nn::data::Ids> batches_;
};

/// Prints a progress line that is overwritten (on a terminal only), and one line per validation.
class Display {
 public:
  explicit Display(std::string metric, int decimals = 2);

  void operator()(const fovea::optim::Progress& progress);

 private:
  std::string metric_;
  int decimals_;
  bool terminal_;
  double next_ = 0;
};

const char* name_of(fovea::optim::StoppedBy reason);

/// The exit code that a shell reports for a signal: 128 + its number.
int interrupted_exit_code(int signal);

/// After Ctrl-C, SIGTERM or SIGHUP. last: the file that --resume reads; empty: nothing was saved
void print_resume_command(std::int64_t step, const std::filesystem::path& last,
                          const std::string& resume_command);

/// Before a new training: renames existing files `model` and `last` to *.old, or to *.old.2 and so
/// on if that exists, so that no model is overwritten. Prints a message.
void rename_earlier(const std::filesystem::path& model, const std::filesystem::path& last);

/// Locks the files of a training, and for a new one calls rename_earlier(). An empty model: no
/// files are written, and none are locked.
fovea::optim::TrainingLock begin_training(const std::filesystem::path& model,
                                          const std::filesystem::path& last, bool resume);

void print_written(const std::filesystem::path& path, const std::string& what);

/// The lines of a file; "-": of standard input; "": none.
fovea::nn::data::Lines read_input(const std::filesystem::path& input);

}  // namespace support
