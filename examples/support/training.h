// What the training programs show, and how they begin and end.
#pragma once

#include <fovea/nn/data/batching.h>
#include <fovea/nn/data/text.h>
#include <fovea/optim/trainer.h>

#include <filesystem>
#include <string>
#include <vector>

namespace support {

/// The current epoch's batches: made again from (seed, epoch) when the epoch changes.
class Epochs {
 public:
  /// lengths: to outlive this
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

/// A line that is written over and over on a terminal, and one for each validation anywhere.
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

/// As a shell reports a program that a signal ended: 128 + its number.
int interrupted_exit_code(int signal);

/// After Ctrl-C, SIGTERM or SIGHUP. last: what --resume reads; empty: nothing was kept
void say_how_to_go_on(std::int64_t step, const std::filesystem::path& last,
                      const std::string& resume_command);

/// Before a new training: what an earlier one left at `model` and `last` is renamed to *.old, or
/// *.old.2 and so on where that exists, so that nothing is overwritten unasked. Says so.
void keep_earlier(const std::filesystem::path& model, const std::filesystem::path& last);

/// The files of a training that begins: locked against a second one, and for a new one cleared by
/// keep_earlier(). An empty model: nothing is written, and nothing locked.
fovea::optim::TrainingLock begin_training(const std::filesystem::path& model,
                                          const std::filesystem::path& last, bool resume);

void say_written(const std::filesystem::path& path, const std::string& what);

/// The lines of a file, or of standard input for "-"; none for "".
fovea::nn::data::Lines read_input(const std::filesystem::path& input);

}  // namespace support
