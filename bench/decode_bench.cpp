// Greedy decoding of one text with a key-value cache: the same work as peers/decode_peer.cpp,
// with the same weights. Compare with bench/compare.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/gpt.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/autograd.h>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::gpt;

void decode(benchmark::State& state) {
  Rng rng(1);
  nn::TransformerLM model(bench::gpt_options(new_tokens), rng);
  bench::start(model, bound);
  model.eval();
  const std::int64_t prompt[] = {0};
  const auto generated = [&] {
    return nn::generate(model, prompt, {.sampling = {.temperature = 0}, .max_tokens = new_tokens},
                        rng);
  };
  const std::vector<std::int64_t> tokens = generated();
  state.counters["result_tokens"] = digest(tokens);
  state.counters["result_count"] = static_cast<double>(tokens.size());
  const NoGrad guard;
  // The logits of the same text in one forward pass.
  const Tensor logits = model(from_data(tokens, {1, new_tokens}));
  state.counters["result_logits"] = bench::norm(logits);
  bench::time(state, decode_gflop(), [&] { benchmark::DoNotOptimize(generated()); });
  state.counters["tokens_per_second"] = benchmark::Counter(
      static_cast<double>(new_tokens), benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  bench::add(decode_name, decode);
  return bench::register_sgemm();
}();

}  // namespace
