// Shared by benchmarks of layers and models: initial weights by name, timing of a step.
#pragma once

#include <fovea/bench/workloads.h>
#include <fovea/core/storage.h>
#include <fovea/core/tensor.h>
#include <fovea/nn/module.h>

#include <string>
#include <utility>

#include <benchmark/benchmark.h>

namespace fovea::bench {

/// The uniform random values of a name, the same as in the peers.
inline Tensor numbers(const std::string& name, const Shape& shape, float bound) {
  return from_data(workloads::uniform(name, static_cast<std::size_t>(shape.numel()), bound), shape);
}

/// Sets every parameter of `module` to the initial values of its name.
inline void start(nn::Module& module, float bound) {
  for (auto& [name, value] : module.parameters())
    value.copy_from(
        from_data(workloads::start_values(name, static_cast<std::size_t>(value.numel()), bound),
                  value.shape()));
}

/// Times `step` and reports its peak memory beyond the memory before, and its useful work.
template <class Step>
void time(benchmark::State& state, double gflop, Step step) {
  step();  // warm-up
  reset_peak_memory();
  const MemoryStats before = memory_stats();
  for (auto _ : state) step();
  const MemoryStats after = memory_stats();
  state.counters["extra_peak_MB"] = static_cast<double>(after.peak_bytes - before.live_bytes) / 1e6;
  state.counters["system_allocations"] =
      static_cast<double>(after.system_allocations - before.system_allocations);
  state.counters["GFLOP"] = gflop;
}

/// Registers a benchmark in milliseconds of wall-clock time.
template <class Run>
void add(const std::string& name, Run run) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(run))
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

}  // namespace fovea::bench
