// Cost of denormal inputs: the same ops on normal values, on denormals, and on denormals without
// flush to zero (core/denormals.h).
#include <fovea/core/autograd.h>
#include <fovea/core/denormals.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/random.h>
#include <fovea/nn/recurrent.h>

#include <functional>
#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;

enum class Input { normal, denormal, exact_denormal };

const char* name_of_input(Input input) {
  if (input == Input::normal) return "normal";
  return input == Input::denormal ? "denormal" : "denormal, exact";
}

Tensor uniform(const Shape& shape, Input input) {
  Rng rng(1);
  const Tensor x = rand(shape, rng);
  if (input == Input::normal) return x;
  set_flush_denormal(false);
  Tensor tiny = x * 1e-39;
  set_flush_denormal(true);
  return tiny;
}

void time(benchmark::State& state, Input input, const std::function<void()>& op) {
  const NoGrad guard;
  set_flush_denormal(input != Input::exact_denormal);
  for (auto _ : state) op();
  set_flush_denormal(true);
}

void time_matmul(benchmark::State& state, Input input) {
  const Tensor a = uniform({256, 256}, input), b = uniform({256, 256}, Input::normal);
  time(state, input, [&] { benchmark::DoNotOptimize(matmul(a, b).impl()); });
}

void time_layer_norm(benchmark::State& state, Input input) {
  const Tensor x = uniform({256, 256}, input);
  time(state, input, [&] { benchmark::DoNotOptimize(layer_norm(x).impl()); });
}

void time_gru(benchmark::State& state, Input input) {
  Rng rng(1);
  const nn::GRU gru({.input_size = 128, .hidden_size = 128}, rng);
  const Tensor x = uniform({16, 32, 128}, input);
  time(state, input, [&] { benchmark::DoNotOptimize(gru(x).states.impl()); });
}

const bool registered = [] {
  const std::pair<const char*, void (*)(benchmark::State&, Input)> ops[] = {
      {"matmul", time_matmul}, {"layer_norm", time_layer_norm}, {"gru", time_gru}};
  for (const auto& [op, run] : ops)
    for (const Input input : {Input::normal, Input::denormal, Input::exact_denormal})
      benchmark::RegisterBenchmark(
          (std::string(op) + "/" + name_of_input(input)).c_str(),
          [run = run, input](benchmark::State& state) { run(state, input); })
          ->Unit(benchmark::kMicrosecond)
          ->UseRealTime();
  return true;
}();

}  // namespace
