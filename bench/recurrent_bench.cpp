// Recurrent layers, forward and backward, on batches of equal and of different lengths: the same
// work as peers/recurrent_peer.cpp. Compare with bench/compare.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/storage.h>
#include <fovea/nn/recurrent.h>

#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::recurrent;

// Whether a batch of different lengths is packed or padded with zeros.
enum class Way { packed, padded };

Tensor numbers(const std::string& name, const Shape& shape, float its_bound) {
  return from_data(workloads::uniform(name, static_cast<std::size_t>(shape.numel()), its_bound),
                   shape);
}

// Pads with zeros to a batch of equal lengths.
Ragged padded(const Ragged& x) {
  const Tensor all = pad(x);  // (B, T, C)
  return {reshape(all, {all.dim(0) * all.dim(1), all.dim(2)}),
          RaggedIndex::equal(all.dim(0), all.dim(1))};
}

template <class Net>
class Pass {
 public:
  Pass(const Case& c, Way way)
      : net_({.input_size = c.I, .hidden_size = c.H}, rng_),
        real_(lengths(c)),
        x_{numbers("x", {real_.total(), c.I}, x_bound), real_},
        dy_{numbers("dy", {real_.total(), c.H}, dy_bound), real_} {
    if (way == Way::padded) x_ = padded(x_), dy_ = padded(dy_);
    inputs_ = {x_.values.set_requires_grad()};
    names_ = {"result_dx"};
    for (auto& [name, value] : net_.parameters()) {
      value.copy_from(numbers(name, value.shape(), bound));
      inputs_.push_back(value);
      names_.push_back("result_d" + name);
    }
  }

  /// The states, and the gradients of the input and of every weight.
  std::vector<Tensor> step() const {
    const Tensor states = net_(x_).states.values;
    std::vector<Tensor> all = grad({&states, 1}, inputs_, {&dy_.values, 1});
    all.push_back(states.detach());
    return all;
  }

  void check(benchmark::UserCounters& counters) const {
    const std::vector<Tensor> all = step();
    for (std::size_t i = 0; i < names_.size(); ++i) counters[names_[i]] = bench::norm(all[i]);
    const std::int64_t B = x_.index.batch_size(), T = x_.index.max_length();
    const Tensor states = x_.index == real_
                              ? all.back()
                              : pack(reshape(all.back(), {B, T, all.back().dim(1)}), real_).values;
    counters["result_y"] = bench::norm(states);
  }

 private:
  Rng rng_{1};
  Net net_;
  RaggedIndex real_;
  Ragged x_, dy_;
  std::vector<Tensor> inputs_;
  std::vector<std::string> names_;
};

template <class Net>
void run(benchmark::State& state, const Case& c, Way way, double useful_gflop) {
  const Pass<Net> pass(c, way);
  pass.check(state.counters);
  reset_peak_memory();
  const std::int64_t before = memory_stats().live_bytes;
  for (auto _ : state) benchmark::DoNotOptimize(pass.step());
  state.counters["extra_peak_MB"] = static_cast<double>(memory_stats().peak_bytes - before) / 1e6;
  state.counters["GFLOP"] = useful_gflop;
}

template <class Net>
void register_net(const workloads::recurrent::Net& net) {
  for (const Case& c : cases) {
    const auto add = [&](const std::string& name, Way way) {
      const auto its_run = [&c, way, work = gflop(net, c)](benchmark::State& state) {
        run<Net>(state, c, way, work);
      };
      benchmark::RegisterBenchmark(name.c_str(), its_run)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    };
    add(name_of(net, c), Way::packed);
    if (c.ragged) add(name_of(net, c) + "_padded", Way::padded);
  }
}

const bool registered = [] {
  register_net<nn::LSTM>(lstm);
  register_net<nn::GRU>(gru);
  register_net<nn::RNN>(rnn);
  return bench::register_sgemm();
}();

}  // namespace
