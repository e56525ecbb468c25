// The option --profile of the programs.
#pragma once

#include <fovea/nn/inspect/profile.h>

#include <filesystem>
#include <memory>

namespace support {

/// Watches some steps of a run: not the first ones, which fill the memory pool and the caches.
/// The table goes to standard error, the trace to the file.
class Profiling {
 public:
  static constexpr std::int64_t first_step = 5, steps = 20;

  /// An empty path: nothing is watched, nothing happens.
  explicit Profiling(std::filesystem::path trace) : trace_(std::move(trace)) {}

  void step();  ///< a step begins, and the one before has ended

  /// f(), not watched: it is no part of a step.
  template <class F>
  auto aside(const F& f) {
    const bool watching = profile_ && profile_->watching();
    if (watching) profile_->stop();
    const auto result = f();
    if (watching) profile_->start();
    return result;
  }

  /// Shows what was seen, or says that too few steps were made. Error: the trace cannot be written.
  void finish();

 private:
  std::filesystem::path trace_;
  std::int64_t begun_ = 0;
  std::unique_ptr<fovea::nn::inspect::Profile> profile_;
};

}  // namespace support
