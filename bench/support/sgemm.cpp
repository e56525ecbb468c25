#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/parallel.h>

#include <vector>

#include <benchmark/benchmark.h>

namespace fovea::bench {
namespace {

using namespace kernels;
constexpr int64_t n = workloads::sgemm::size;

template <class F>
void measure(benchmark::State& state, F multiply) {
  const auto count = static_cast<std::size_t>(n * n);
  const std::vector<float> a(count, 0.01f), b(count, 0.01f);
  std::vector<float> c(count);
  for (auto _ : state) {
    multiply(a.data(), b.data(), c.data());
    benchmark::ClobberMemory();
  }
  state.counters["GFLOP"] = workloads::sgemm::gflop;
}

void own(benchmark::State& state) {
  measure(state, [](const float* a, const float* b, float* c) {
    gemm<float>(Trans::no, Trans::no, n, n, n, 1, a, n, b, n, 0, c, n);
  });
}

void openblas(benchmark::State& state) {
  measure(state, [](const float* a, const float* b, float* c) {
    parallel_for(n, chunk_count(n, num_threads()), [&](int64_t begin, int64_t end) {
      gemm_blas<float>(Trans::no, Trans::no, end - begin, n, n, 1, a + begin * n, n, b, n, 0,
                       c + begin * n, n);
    });
  });
}

}  // namespace

bool register_sgemm() {
  const auto add = [](const char* name, void (*run)(benchmark::State&)) {
    benchmark::RegisterBenchmark(name, run)->Unit(benchmark::kMillisecond)->UseRealTime();
  };
  add("sgemm/own", own);
  add("sgemm/OpenBLAS", openblas);
  return true;
}

}  // namespace fovea::bench
