// A multi-head self-attention layer, forward and backward: the same work as peers/mha_peer.cpp.
// mha/weights also computes the mean of the weights over the heads, here with a probe, which
// recomputes the scores; its cost is the difference from mha/plain. Compare with bench/compare.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/autograd.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/inspect/probe.h>

#include <optional>
#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::mha;

class Pass {
 public:
  Pass(std::int64_t T, bool weights)
      : layer_({.embed_dim = C, .num_heads = H}, rng_),
        x_(bench::numbers("x", {B, T, C}, x_bound).set_requires_grad()),
        dy_(bench::numbers("dy", {B, T, C}, dy_bound)),
        inputs_{x_} {
    bench::start(layer_, bound);
    for (const auto& [name, value] : layer_.parameters()) {
      inputs_.push_back(value);
      names_.push_back("result_d" + name);
    }
    if (weights) probe_.emplace(layer_, "**", nn::inspect::ProbeOptions{.head_mean = true});
  }

  /// Gradients of the input and of every weight, the output, and the attention weights if enabled.
  std::vector<Tensor> step() {
    const Tensor y = layer_(x_);
    std::vector<Tensor> all = grad({&y, 1}, inputs_, {&dy_, 1});
    all.push_back(y.detach());
    if (probe_) {
      all.push_back(probe_->layers()[0].calls[0].head_mean);  // (B, T, T)
      probe_->clear();
    }
    return all;
  }

  void check(benchmark::UserCounters& counters) {
    std::vector<std::string> names = names_;
    names.push_back("result_y");
    if (probe_) names.push_back("result_weights");
    const std::vector<Tensor> all = step();
    for (std::size_t i = 0; i < all.size(); ++i) counters[names[i]] = bench::norm(all[i]);
  }

 private:
  Rng rng_{1};
  nn::MultiheadAttention layer_;
  Tensor x_, dy_;
  std::vector<Tensor> inputs_;
  std::vector<std::string> names_{"result_dx"};
  std::optional<nn::inspect::AttentionProbe> probe_;
};

void run(benchmark::State& state, std::int64_t T, bool weights) {
  Pass pass(T, weights);
  pass.check(state.counters);
  bench::time(state, gflop(T), [&] { benchmark::DoNotOptimize(pass.step()); });
}

const bool registered = [] {
  for (const bool weights : {false, true})
    for (const std::int64_t T : lengths)
      bench::add(name_of(weights, T),
                 [T, weights](benchmark::State& state) { run(state, T, weights); });
  return bench::register_sgemm();
}();

}  // namespace
