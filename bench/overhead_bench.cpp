// Overhead per op: a chain of 1,000 small ops on 1 and 64 elements, as in peers/overhead_peer.cpp.
#include <fovea/bench/workloads.h>
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
namespace chain = workloads::chain;

Tensor run_chain(const Tensor& x, const Tensor& c) {
  Tensor y = x;
  for (int i = 0; i < chain::ops / 4; ++i) {
    y = y * c;
    y = y + c;
    y = tanh(y);
    y = y * y;
  }
  return y;
}

enum class Pass { no_grad_forward, forward, forward_backward };

void time_chain(benchmark::State& state, std::int64_t size, Pass pass) {
  Tensor x = from_data(workloads::uniform("chain", static_cast<std::size_t>(size), 1), {size});
  x.set_requires_grad();
  const Tensor c = full({size}, chain::factor);
  state.counters["result"] = sum(run_chain(x, c)).item<double>();
  for (auto _ : state) {
    if (pass == Pass::forward_backward) {
      x.zero_grad();
      sum(run_chain(x, c)).backward();
    } else {
      const NoGrad guard(pass == Pass::no_grad_forward);
      benchmark::DoNotOptimize(run_chain(x, c).impl());
    }
  }
  state.counters["ns_per_op"] =
      benchmark::Counter(1e-9 * chain::ops, benchmark::Counter::kIsIterationInvariantRate |
                                                benchmark::Counter::kInvert);
}

BENCHMARK_CAPTURE(time_chain, 1 / no_grad_forward, 1, Pass::no_grad_forward)
    ->Name("chain/1/no_grad_forward");
BENCHMARK_CAPTURE(time_chain, 1 / forward, 1, Pass::forward)->Name("chain/1/forward");
BENCHMARK_CAPTURE(time_chain, 1 / forward_backward, 1, Pass::forward_backward)
    ->Name("chain/1/forward_backward");
BENCHMARK_CAPTURE(time_chain, 64 / no_grad_forward, 64, Pass::no_grad_forward)
    ->Name("chain/64/no_grad_forward");
BENCHMARK_CAPTURE(time_chain, 64 / forward, 64, Pass::forward)->Name("chain/64/forward");
BENCHMARK_CAPTURE(time_chain, 64 / forward_backward, 64, Pass::forward_backward)
    ->Name("chain/64/forward_backward");

}  // namespace
