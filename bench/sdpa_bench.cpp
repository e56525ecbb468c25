// Scaled dot-product attention, forward and backward: full, causal, sliding window, dropout, keys
// of different lengths. The same work as peers/sdpa_peer.cpp. Compare with bench/compare.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>

#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::sdpa;

Tensor input(const char* name, std::int64_t T, float its_bound) {
  const auto count = static_cast<std::size_t>(B * H * T * D);
  return from_data(workloads::uniform(name, count, its_bound), {B, H, T, D});
}

class Attention {
 public:
  explicit Attention(const Case& c)
      : q_(input("q", c.T, bound).set_requires_grad()),
        k_(input("k", c.T, bound).set_requires_grad()),
        v_(input("v", c.T, bound).set_requires_grad()),
        dy_(input("dy", c.T, dy_bound)) {
    const std::string kind = c.kind;
    if (kind == "causal") mask_ = Mask::causal();
    if (kind == "window") mask_ = Mask::window(window - 1, 0);
    if (kind == "ragged") mask_ = Mask::lengths(key_lengths(c.T));
    if (kind == "dropout") p_ = workloads::sdpa::dropout;
  }

  /// The output, and the gradients of q, k and v.
  std::vector<Tensor> step(bool with_dropout) {
    const Tensor y = scaled_dot_product_attention(
        q_, k_, v_, mask_, {.dropout = with_dropout ? p_ : 0.0, .rng = &rng_});
    const Tensor inputs[] = {q_, k_, v_};
    std::vector<Tensor> all = grad({&y, 1}, inputs, {&dy_, 1});
    all.push_back(y);
    return all;
  }

 private:
  Tensor q_, k_, v_, dy_;
  Mask mask_ = Mask::none();
  double p_ = 0;
  Rng rng_{1};
};

void run(benchmark::State& state, const Case& c) {
  Attention attention(c);
  // The random bits of dropout differ between libraries: the checks run without dropout.
  const std::vector<Tensor> checked = attention.step(false);
  const char* const names[] = {"result_dq", "result_dk", "result_dv", "result_y"};
  for (std::size_t i = 0; i < checked.size(); ++i)
    state.counters[names[i]] = bench::norm(checked[i]);
  attention.step(true);
  reset_peak_memory();
  const std::int64_t before = memory_stats().live_bytes;
  for (auto _ : state) benchmark::DoNotOptimize(attention.step(true));
  state.counters["extra_peak_MB"] = static_cast<double>(memory_stats().peak_bytes - before) / 1e6;
  state.counters["GFLOP"] = gflop(c);
}

const bool registered = [] {
  for (const Case& c : cases) {
    const std::string name = "sdpa/" + std::string(c.kind) + "/" + std::to_string(c.T);
    benchmark::RegisterBenchmark(name.c_str(), [&c](benchmark::State& state) { run(state, c); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
  return bench::register_sgemm();
}();

}  // namespace
