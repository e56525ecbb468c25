// Timing for the twins, with the flags and the JSON of Google Benchmark as far as bench/compare
// needs them, so that a twin can be built where only its own framework is installed.
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

/// Numbers that show what was computed: losses, results, gradients.
using Checks = std::map<std::string, double>;

/// What the process takes at most while `step` runs, beyond what it held before, in 1e6 bytes: by
/// the system's count of resident pages (Linux), after malloc has given back what is free.
inline double peak_megabytes(const std::function<void()>& step) {
  const auto resident = [](const std::string& field) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind(field, 0) == 0) return 1024e-6 * std::stod(line.substr(field.size()));
    return std::numeric_limits<double>::quiet_NaN();  // no /proc
  };
  malloc_trim(0);
  const double before = resident("VmRSS:");
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
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

  /// Whether the filter lets a benchmark of this name run.
  bool wants(const std::string& name) const { return std::regex_search(name, filter_); }

  /// Repeats `step` as often as fills the asked time, and that as often as was asked.
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
    for (const auto& [key, value] : checks)  // JSON has no NaN: one is as good as missing
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
