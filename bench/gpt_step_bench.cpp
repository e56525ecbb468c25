// A training step of a small language model (pre-norm, tied output layer, AdamW): the same work as
// peers/gpt_step_peer.cpp, with the same initial weights. Compare with bench/compare.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/gpt.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/ops/loss.h>
#include <fovea/optim/adam.h>

#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::gpt;

class Trainer {
 public:
  explicit Trainer(const Case& c)
      : model_(bench::gpt_options(c.T), rng_),
        adam_((bench::start(model_, bound), model_.parameters()),
              {.lr = learning_rate, .weight_decay = weight_decay}),
        inputs_(token_matrix("input_tokens", c)),
        next_(token_matrix("next_tokens", c)) {}

  double step() {
    adam_.zero_grad();
    const Tensor loss = cross_entropy(model_(inputs_), next_);
    loss.backward();
    adam_.step();
    return loss.item<double>();
  }

  double gradient_norm() { return bench::gradient_norm(model_.parameters()); }

 private:
  static Tensor token_matrix(const std::string& name, const Case& c) {
    return from_data(workloads::words(name, static_cast<std::size_t>(c.B * c.T), V), {c.B, c.T});
  }

  Rng rng_{1};
  nn::TransformerLM model_;
  optim::AdamW adam_;
  Tensor inputs_, next_;
};

void run(benchmark::State& state, const Case& c) {
  Trainer trainer(c);
  for (int i = 1; i <= checked_steps; ++i) {
    state.counters["loss_" + std::to_string(i)] = trainer.step();
    if (i == 1) state.counters["result_gradient"] = trainer.gradient_norm();
  }
  bench::time(state, gflop(c), [&] { benchmark::DoNotOptimize(trainer.step()); });
}

const bool registered = [] {
  for (const Case& c : cases)
    bench::add(name_of(c), [&c](benchmark::State& state) { run(state, c); });
  return bench::register_sgemm();
}();

}  // namespace
