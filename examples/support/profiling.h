// Implementation of the option --profile.
#pragma once

#include <fovea/nn/inspect/profile.h>
#include <fovea/optim/trainer.h>

#include <filesystem>
#include <functional>
#include <memory>

namespace support {

/// Profiles some steps of a run, but not the first ones, which fill the memory pool and the caches.
/// The table is written to standard error, the trace to the file.
class Profiling {
 public:
  static constexpr std::int64_t first_step = 5, steps = 20;

  /// An empty path: no profile. Otherwise measures the machine's peak performance, and then resets
  /// the peak of memory_stats(), because the measurement is not part of the run.
  explicit Profiling(std::filesystem::path trace);

  /// The same training with its steps profiled, but not its validations; work between the steps,
  /// such as writing a checkpoint, counts as time outside ops.
  fovea::optim::TrainingTask watch(fovea::optim::TrainingTask task);

  void step();  ///< marks the end of a step and the start of the next

  /// Prints the profile, or a message if there were too few steps. If the trace cannot be written,
  /// prints an error but does not throw, because the trained model is not saved yet. The program
  /// then exits with 1.
  void finish();

 private:
  double without_profile(const std::function<double()>& f);  // f is not part of a step

  std::filesystem::path trace_;
  double peak_gflops_ = 0;
  std::int64_t begun_ = 0;
  std::unique_ptr<fovea::nn::inspect::Profile> profile_;
};

}  // namespace support
