// The option --profile of the programs.
#pragma once

#include <fovea/nn/inspect/profile.h>
#include <fovea/optim/trainer.h>

#include <filesystem>
#include <functional>
#include <memory>

namespace support {

/// Watches some steps of a run: not the first ones, which fill the memory pool and the caches.
/// The table goes to standard error, the trace to the file.
class Profiling {
 public:
  static constexpr std::int64_t first_step = 5, steps = 20;

  /// An empty path: nothing is watched, nothing happens. Else measures first what the machine can
  /// do, and then resets the peak of memory_stats(): it is no part of the run.
  explicit Profiling(std::filesystem::path trace);

  /// The same training, whose steps are watched, but not its validations; what is between steps,
  /// such as the writing of a checkpoint, counts as time outside of ops.
  fovea::optim::TrainingTask watch(fovea::optim::TrainingTask task);

  void step();  ///< a step begins, and the one before has ended

  /// Shows what was seen, or says that too few steps were made. That the trace cannot be written is
  /// said too, but is no exception: what was trained is worth more, and not saved yet. The program
  /// then exits with 1.
  void finish();

 private:
  double aside(const std::function<double()>& f);  // not watched: it is no part of a step

  std::filesystem::path trace_;
  double peak_gflops_ = 0;
  std::int64_t begun_ = 0;
  std::unique_ptr<fovea::nn::inspect::Profile> profile_;
};

}  // namespace support
