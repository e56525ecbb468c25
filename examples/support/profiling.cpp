#include <fovea/core/error.h>
#include <fovea/core/storage.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/examples/support/program.h>
#include <fovea/examples/support/training.h>

#include <iostream>

#include <fmt/format.h>

namespace inspect = fovea::nn::inspect;

namespace support {

Profiling::Profiling(std::filesystem::path trace) : trace_(std::move(trace)) {
  if (trace_.empty()) return;
  peak_gflops_ = inspect::measure_sgemm_gflops();
  fovea::reset_peak_memory();
}

void Profiling::step() {
  if (trace_.empty()) return;
  if (begun_ == first_step)
    profile_ =
        std::make_unique<inspect::Profile>(inspect::ProfileOptions{.peak_gflops = peak_gflops_});
  if (begun_ == first_step + steps) profile_->stop();
  ++begun_;
  if (profile_ && profile_->watching()) profile_->step();
}

double Profiling::without_profile(const std::function<double()>& f) {
  const bool watching = profile_ && profile_->watching();
  if (watching) profile_->stop();
  const double result = f();
  if (watching) profile_->start();
  return result;
}

fovea::optim::TrainingTask Profiling::watch(fovea::optim::TrainingTask task) {
  if (trace_.empty()) return task;
  task.loss = [this, loss = std::move(task.loss)](std::int64_t epoch, std::int64_t batch) {
    step();
    return loss(epoch, batch);
  };
  if (task.validate)
    task.validate = [this, validate = std::move(task.validate)] {
      return without_profile(validate);
    };
  return task;
}

void Profiling::finish() {
  if (trace_.empty()) return;
  if (!profile_) {
    std::cerr << fmt::format(
        "--profile: no profile: {} steps were run, and the first {} are not profiled\n", begun_,
        first_step);
    return;
  }
  profile_->stop();
  std::cerr << '\n' << profile_->table() << '\n';
  try {
    profile_->write_trace(trace_);
    print_written(trace_, "a trace of these steps, for ui.perfetto.dev or chrome://tracing");
  } catch (const fovea::Error& error) {
    std::cerr << "--profile: " << error.what() << '\n';
    fail_at_end();
  }
}

}  // namespace support
