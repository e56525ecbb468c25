// Timing for the peers, with the flags and the JSON of Google Benchmark that bench/compare needs,
// so that a peer can be built with only its own framework installed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <malloc.h>
#include <map>
#include <regex>
#include <string>

namespace peers {

/// Values for the comparison of results: losses, outputs, gradients.
using Checks = std::map<std::string, double>;

/// Peak memory of the process during `step` minus the memory before, in 1e6 bytes: resident pages
/// (Linux), after malloc has returned free memory to the system.
inline double peak_megabytes(const std::function<void()>& step) {
  const auto resident = [](const std::string& field) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind(field, 0) == 0) return 1024e-6 * std::stod(line.substr(field.size()));
    return std::numeric_limits<double>::quiet_NaN();  // no /proc
  };
  malloc_trim(0);
  const double before = resident("VmRSS:");
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  step();
  return resident("VmHWM:") - before;
}

class Stopwatch {
 public:
  Stopwatch(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      read(argv[i], "--benchmark_repetitions=", [&](const char* v) { repetitions_ = atoi(v); });
      read(argv[i], "--benchmark_min_time=", [&](const char* v) { min_seconds_ = atof(v); });
      read(argv[i], "--benchmark_filter=", [&](const char* v) { filter_ = v; });
    }
    std::printf("{\"benchmarks\": [");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() { std::printf("\n]}\n"); }

  /// Whether the filter matches a benchmark of this name.
  bool wants(const std::string& name) const { return std::regex_search(name, filter_); }

  /// Repeats `step` for the requested time, and that for the requested number of repetitions.
  void time(const std::string& name, const Checks& checks, const std::function<void()>& step) {
    if (!wants(name)) return;
    int count = 1;
    double seconds = seconds_of(step, count);
    while (seconds < min_seconds_) {
      const double growth = std::clamp(1.2 * min_seconds_ / seconds, 1.0, 10.0);
      count = 1 + static_cast<int>(count * growth);
      seconds = seconds_of(step, count);
    }
    for (int i = 0; i < repetitions_; ++i) print(name, seconds_of(step, count) / count, checks);
  }

 private:
  template <class Use>
  static void read(const std::string& argument, const std::string& flag, Use use) {
    if (argument.rfind(flag, 0) == 0) use(argument.c_str() + flag.size());
  }

  static double seconds_of(const std::function<void()>& step, int count) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) step();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  void print(const std::string& name, double seconds, const Checks& checks) {
    std::printf(
        "%s\n{\"name\": \"%s\", \"run_type\": \"iteration\", \"real_time\": %.9g, "
        "\"time_unit\": \"ns\"",
        first_ ? "" : ",", name.c_str(), seconds * 1e9);
    for (const auto& [key, value] : checks)  // JSON has no NaN: omit it
      if (std::isfinite(value)) std::printf(", \"%s\": %.9g", key.c_str(), value);
    std::printf("}");
    std::fflush(stdout);
    first_ = false;
  }

  int repetitions_ = 3;
  double min_seconds_ = 0.5;
  std::regex filter_{""};
  bool first_ = true;
};

}  // namespace peers
