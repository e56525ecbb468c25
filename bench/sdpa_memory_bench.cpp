// Memory of forward and backward of scaled dot-product attention beyond inputs, outputs and their
// gradients: B 1, H 8, D 64, causal, dropout 0.1, T from 1k to 16k. Two measures, in MB:
//   tensors_mb   by the memory pool's counters
//   resident_mb  by the process's peak (Linux), including the kernels' scratch memory of all
//   threads
//                and rounding to pages; for the first pass at each T, so run with one repetition
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/storage.h>
#include <fovea/core/threads.h>

#include <fstream>
#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;

// "VmRSS:" current, "VmHWM:" peak since the last reset; in bytes, 0 if not available.
double resident(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return 1024.0 * std::stod(line.substr(field.size()));
  return 0;
}

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

void training_pass(benchmark::State& state) {
  const std::int64_t T = state.range(0);
  Rng rng(1);
  std::vector<Tensor> x;
  for (int i = 0; i < 3; ++i) x.push_back(randn({1, 8, T, 64}, rng).set_requires_grad());
  const Tensor dy = randn({1, 8, T, 64}, rng);
  const double given = 4.0 * 4.0 * static_cast<double>(dy.numel());  // y, dq, dk, dv in f32
  for (auto _ : state) {
    const auto before = static_cast<double>(memory_stats().live_bytes);
    const double resident_before = resident("VmRSS:");
    reset_peak_memory();
    reset_peak_resident();
    scaled_dot_product_attention(x[0], x[1], x[2], Mask::causal(), {.dropout = 0.1, .rng = &rng})
        .backward(dy);
    const double tensors = static_cast<double>(memory_stats().peak_bytes) - before - given;
    const double process = resident("VmHWM:") - resident_before - given;
    state.counters["tensors_mb"] = tensors / 1e6;
    state.counters["resident_mb"] = process / 1e6;
    state.counters["threads"] = num_threads();
  }
}

BENCHMARK(training_pass)
    ->RangeMultiplier(2)
    ->Range(1024, 16384)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
