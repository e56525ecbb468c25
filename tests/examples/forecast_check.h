// Compares a forecast with the memory counters of a training.
#pragma once

#include <fovea/core/storage.h>
#include <fovea/core/threads.h>
#include <fovea/nn/inspect/cost.h>

#include <cmath>
#include <iostream>
#include <sstream>

#include <doctest/doctest.h>

/// While this object exists, messages of a training are not in the test's output.
class Quiet {
 public:
  Quiet() : before_(std::cerr.rdbuf(text_.rdbuf())) {}
  ~Quiet() { std::cerr.rdbuf(before_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  std::ostringstream text_;
  std::streambuf* before_;
};

/// The highest peak of memory_stats() while `train` runs.
template <class F>
std::int64_t peak_of(const F& train) {
  const Quiet quiet;
  fovea::reset_peak_memory();
  train();
  return fovea::memory_stats().peak_bytes;
}

/// Within 5 %, plus the tolerance of the counters: 16 KiB per thread.
inline void check_forecast(const std::string& what, const fovea::nn::inspect::CostLedger& cost,
                           std::int64_t measured) {
  const double slack = static_cast<double>(fovea::num_threads() << 14);
  const auto forecast = static_cast<double>(cost.peak_bytes());
  INFO(what, ": forecast ", cost.peak_bytes(), " in the ", std::string(cost.peak_phase()),
       ", measured ", measured);
  CHECK(measured > 1 << 20);  // otherwise the tolerance would be relatively large
  CHECK(std::abs(forecast - static_cast<double>(measured)) <=
        slack + 0.05 * static_cast<double>(measured));
}
