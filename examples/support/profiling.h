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

  /// An empty path: nothing is watched, nothing happens.
  explicit Profiling(std::filesystem::path trace) : trace_(std::move(trace)) {}

  /// The same training, whose steps are watched, but not its validations.
  fovea::optim::TrainingTask watch(fovea::optim::TrainingTask task);

  void step();  ///< a step begins, and the one before has ended

  /// Shows what was seen, or says that too few steps were made. Error: the trace cannot be written.
  void finish();

 private:
  double aside(const std::function<double()>& f);  // not watched: it is no part of a step

  std::filesystem::path trace_;
  std::int64_t begun_ = 0;
  std::unique_ptr<fovea::nn::inspect::Profile> profile_;
};

}  // namespace support
