// A training step of a minimal net, as in peers/xor_peer.cpp: the overhead of a whole step when the
// arithmetic is negligible.
#include <fovea/bench/workloads.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/loss.h>
#include <fovea/nn/linear.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/sgd.h>

#include <iterator>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::xor_step;

class Net : public nn::Module {
 public:
  explicit Net(Rng& rng)
      : first_({.in_features = inputs, .out_features = hidden}, rng),
        second_({.in_features = hidden, .out_features = 1}, rng) {
    for (auto& [name, value] : parameters())
      value.copy_from(from_data(
          workloads::uniform(name, static_cast<std::size_t>(value.numel()), bound), value.shape()));
  }

  Tensor operator()(const Tensor& x) const { return second_(tanh(first_(x))); }

  // The peer's names, which determine the initial weights; "1" in its nn.Sequential is tanh.
  void visit(nn::Visitor& v) override {
    v("0", first_);
    v("2", second_);
  }

 private:
  nn::Linear first_, second_;
};

struct Problem {
  Rng rng{1};
  Net net{rng};
  Tensor x = from_data(std::vector(std::begin(examples), std::end(examples)), {batch, inputs});
  Tensor y = from_data(std::vector(std::begin(answers), std::end(answers)), {batch, 1});

  Tensor step(optim::Optimizer& optimizer) const {
    optimizer.zero_grad();
    const Tensor loss = mse_loss(net(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  }
};

template <class Optimizer, class Options>
void time_training(benchmark::State& state, const Options& options) {
  Problem problem;
  Optimizer optimizer(problem.net.parameters(), options);
  Tensor loss;
  for (int i = 0; i < checked_steps; ++i) loss = problem.step(optimizer);
  state.counters["loss"] = loss.item<double>();
  const MemoryStats before = memory_stats();
  for (auto _ : state) benchmark::DoNotOptimize(problem.step(optimizer));
  state.counters["system_allocations"] =
      static_cast<double>(memory_stats().system_allocations - before.system_allocations);
}

void sgd(benchmark::State& state) {
  time_training<optim::SGD>(state, optim::SGDOptions{.lr = sgd_learning_rate});
}
BENCHMARK(sgd)->Name("xor/sgd")->UseRealTime();

void adam(benchmark::State& state) {
  time_training<optim::Adam>(state, optim::AdamOptions{.lr = adam_learning_rate});
}
BENCHMARK(adam)->Name("xor/adam")->UseRealTime();

}  // namespace
